"""The coordinator: rounds, admission, aggregation, evaluation, checkpoints, report."""
