"""Kits to read and to attack."""

from federation_kits import federations, kits, pristine

__all__ = ["federations", "kits", "pristine"]
