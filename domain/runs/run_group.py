"""What runs are grouped by in statistics."""

from domain.described_enum import DescribedEnum


class RunGroup(DescribedEnum):
    """What the runs of one group have in common."""

    FLOW = "FLOW", "The flow."
    VERSION = "VERSION", "The flow version."
    TRIGGER = "TRIGGER", "What started them."
    TAG = "TAG", "A tag. A run counts once for each of its tags."
    ERROR = "ERROR", "The fingerprint of the error with which they failed."
