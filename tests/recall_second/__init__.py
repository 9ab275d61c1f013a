"""A second, independently written set of outpatient notes for measuring recall; its misses are never looked at."""
