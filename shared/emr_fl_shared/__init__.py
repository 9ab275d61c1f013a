"""What both sides must agree on: records, labels, text, model, metrics and the messages that cross."""
