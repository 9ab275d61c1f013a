"""An evaluation set for de-identification that was written apart from the rules it measures."""
