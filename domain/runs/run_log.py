"""The log of a run: lines, in the order in which they were written."""

from domain.described_enum import DescribedEnum

MAX_MESSAGE = 4_000
"""Characters kept of a line's message."""
MAX_LINES = 10_000
"""Lines kept of a run's log, unless the operator sets another limit."""


class LogLevel(DescribedEnum):
    """Severity of a line of a run's log, in rising order."""

    DEBUG = "DEBUG", "Details for those who look for a fault."
    INFO = "INFO", "What happened."
    WARNING = "WARNING", "Something unexpected that stopped nothing."
    ERROR = "ERROR", "Something failed."

    @property
    def and_above(self) -> tuple["LogLevel", ...]:
        """This level and the more severe ones."""
        order = tuple(LogLevel)
        return order[order.index(self) :]

    @classmethod
    def of(cls, name: str) -> "LogLevel":
        """Returns the level that an action calls `name`, in any case; INFO if there is none of that name."""
        return cls.__members__.get(name.upper(), cls.INFO)


def storable(text: str, length: int) -> str:
    """Returns `text` in a form that both databases can store, cut to `length` characters."""
    # PostgreSQL does not accept NUL in text, and UTF-8 has no lone surrogates.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()[:length]
