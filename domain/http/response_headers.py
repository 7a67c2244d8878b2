"""The headers that the template of a webhook's response can set."""

import re

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OF_THE_SERVICE = frozenset(
    {
        "connection",
        "content-length",
        "content-security-policy",
        "set-cookie",
        "transfer-encoding",
        "x-content-type-options",
    }
)
"""Headers that belong to the connection, or that protect signed-in browsers from the response."""


def name_problem(name: str) -> str | None:
    """Returns why a response cannot have a header with this name; None if it can."""
    if not _NAME.fullmatch(name):
        return "Names of headers must have 1 to 100 characters: letters, digits, `-` and `_`"
    return "The service sets this header itself" if name.lower() in _OF_THE_SERVICE else None


def value_problem(value: str) -> str | None:
    """Returns why a header cannot have this value; None if it can."""
    if _VALUE.fullmatch(value):
        return None
    return "Values of headers must be one line of characters of ISO 8859-1"
