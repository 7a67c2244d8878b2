"""The values by which statistics group runs."""

from domain.described_enum import DescribedEnum


class RunGroup(DescribedEnum):
    """The value that the runs of one group share."""

    FLOW = "FLOW", "The flow."
    VERSION = "VERSION", "The flow version of the run."
    TRIGGER = "TRIGGER", "The way in which the run was started."
    TAG = "TAG", "A tag of the run. A run counts once for each of its tags."
    ERROR = "ERROR", "The fingerprint of the error with which the run failed."
