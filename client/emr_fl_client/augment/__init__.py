"""Rule augmentation of training text: one operator a file, a registry, and the policy that applies and re-checks them."""
