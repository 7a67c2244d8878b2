"""The log of a run: its lines, in the order in which they were written."""

from domain.described_enum import DescribedEnum

MAX_MESSAGE = 4_000
"""Largest number of characters of a line's message. Longer messages are cut."""
MAX_LINES = 10_000
"""Largest number of lines of a run's log, unless the operator sets another limit."""


class LogLevel(DescribedEnum):
    """Severity of a line of a run's log, in rising order."""

    DEBUG = "DEBUG", "Details for debugging."
    INFO = "INFO", "What happened."
    WARNING = "WARNING", "Something unexpected that did not stop the step."
    ERROR = "ERROR", "Something failed."

    @property
    def and_above(self) -> tuple["LogLevel", ...]:
        """Returns this level and the more severe ones."""
        order = tuple(LogLevel)
        return order[order.index(self) :]

    @classmethod
    def of(cls, name: str) -> "LogLevel":
        """Returns the level with this name, in any case; INFO if no level has the name."""
        return cls.__members__.get(name.upper(), cls.INFO)


def storable(text: str, length: int) -> str:
    """Returns `text` in a form that both databases can store, cut to `length` characters."""
    # PostgreSQL does not accept NUL in text, and UTF-8 has no lone surrogates.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()[:length]
