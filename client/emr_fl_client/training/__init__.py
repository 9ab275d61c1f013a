"""Local training: losses, schedule, one step, one round."""
