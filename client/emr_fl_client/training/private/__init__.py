"""Training under differential privacy: DP-SGD with a gradient for each record, one clip a unit, noise from a cryptographic stream."""
