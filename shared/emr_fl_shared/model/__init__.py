"""The encoder with its multi-label head: build, load, save, predict; and the baseline beside it."""
