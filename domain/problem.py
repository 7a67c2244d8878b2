"""What an error says of one place in what a client sent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in a document: its path (`steps[2].input.url`), and a message with what is wrong or expected
    there."""

    path: str
    message: str
