"""A bundle for machines without internet: wheels, lock, checksums, SBOM, and how to install it."""
