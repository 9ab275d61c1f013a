"""The global model on the server's held-out sets: sets, scores, attacks."""
