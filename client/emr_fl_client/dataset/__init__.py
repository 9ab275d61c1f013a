"""A site's records on their way to the model: split by patient, balanced, batched by length."""
