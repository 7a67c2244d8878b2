"""The log of a run: lines, in the order in which they were written."""

from enum import StrEnum

MAX_MESSAGE = 4_000
"""Characters kept of a line's message."""
MAX_LINES = 10_000
"""Lines kept of a run, unless the operator decides otherwise."""


class LogLevel(StrEnum):
    """How much a line of a run's log matters, in rising order."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"

    @property
    def and_above(self) -> tuple["LogLevel", ...]:
        """This level and those that matter more."""
        order = tuple(LogLevel)
        return order[order.index(self) :]

    @classmethod
    def of(cls, word: str) -> "LogLevel":
        """The level that an action calls `word`; INFO when it is none."""
        return cls.__members__.get(word.upper(), cls.INFO)
