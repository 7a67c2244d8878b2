"""Names of flows, in the form in which they are stored and compared."""

import unicodedata

from domain import ids
from domain.errors import InvalidArgumentError, InvalidIdError
from domain.ids import IdKind

MAX_NAME_LENGTH = 200
"""Largest number of characters in a flow's name."""


def normalize(name: str) -> str:
    """Returns `name` without surrounding white space, in Unicode's normal form C, so that names that look equal are
    equal."""
    return unicodedata.normalize("NFC", name.strip())


def check(name: str) -> str:
    """Returns the normalised name of a new or renamed flow.

    Raises:
        InvalidArgumentError: the name is empty, too long, has the character U+0000, or is the ID of a flow.
    """
    normalized = normalize(name)
    if not 1 <= len(normalized) <= MAX_NAME_LENGTH or "\0" in normalized:
        raise InvalidArgumentError(f"`name` must have 1 to {MAX_NAME_LENGTH} characters, none of them U+0000.")
    try:
        ids.decode(IdKind.FLOW, normalized)
    except InvalidIdError:
        return normalized
    raise InvalidArgumentError("`name` must not be the ID of a flow: `flow` steps could not call it by its name.")
