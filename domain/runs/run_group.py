"""What runs are grouped by in statistics."""

from enum import StrEnum


class RunGroup(StrEnum):
    """What the runs of one group have in common."""

    FLOW = "FLOW"
    VERSION = "VERSION"
    TRIGGER = "TRIGGER"
    TAG = "TAG"
    ERROR = "ERROR"
