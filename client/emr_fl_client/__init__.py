"""One hospital: data set, augmentation, adversarial training, egress."""
