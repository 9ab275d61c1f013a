"""A site as a member of a secure aggregation: what it answers in each step, what it refuses, what it keeps."""

from emr_fl_client.masking.member import Identity, Masked, Member
from emr_fl_client.masking.memory import SessionMemory

__all__ = ["Identity", "Masked", "Member", "SessionMemory"]
