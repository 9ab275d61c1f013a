"""A third, independently written set of outpatient notes for measuring recall and false alarms; its misses are never looked at."""
