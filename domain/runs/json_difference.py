"""Differences of two JSON documents, each with its place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from domain.described_enum import DescribedEnum


class JsonDifferenceKind(DescribedEnum):
    """How the second document differs from the first one at a place."""

    ADDED = "ADDED", "Only the second document has a value there."
    REMOVED = "REMOVED", "Only the first document has a value there."
    CHANGED = "CHANGED", "The values differ. Two objects, or two lists, are compared value by value instead."


@dataclass(frozen=True, slots=True)
class JsonDifference:
    """A place at which two documents differ."""

    path: str
    """JSON Pointer (RFC 6901) of the place; empty for the document as a whole."""
    kind: JsonDifferenceKind
    a: Any
    """The value in the first document; None if it has none."""
    b: Any


class _Missing(Enum):
    MISSING = "missing"


MISSING: Final = _Missing.MISSING
"""Stands for a document that does not exist, as distinct from null."""


def differences(a: Any, b: Any) -> Iterator[JsonDifference]:
    """Yields the places at which two documents differ, in the order of the first one.

    Objects are compared by key and lists by index.
    """
    pending = [("", a, b)]  # A stack: documents may be nested more deeply than Python calls.
    while pending:
        path, left, right = pending.pop()
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys = [*left, *(key for key in right if key not in left)]
            inner = [(_below(path, key), left.get(key, MISSING), right.get(key, MISSING)) for key in keys]
        elif isinstance(left, list) and isinstance(right, list):
            length = max(len(left), len(right))
            inner = [(_below(path, index), _at(left, index), _at(right, index)) for index in range(length)]
        else:
            inner = []
            if (difference := _difference(path, left, right)) is not None:
                yield difference
        pending += reversed(inner)


def _difference(path: str, a: Any, b: Any) -> JsonDifference | None:
    if a is MISSING or b is MISSING:
        if a is b:
            return None
        kind = JsonDifferenceKind.ADDED if a is MISSING else JsonDifferenceKind.REMOVED
        return JsonDifference(path, kind, None if a is MISSING else a, None if b is MISSING else b)
    # In Python 1 == True, in JSON 1 and true differ.
    if a == b and isinstance(a, bool) is isinstance(b, bool):
        return None
    return JsonDifference(path, JsonDifferenceKind.CHANGED, a, b)


def _below(path: str, key: str | int) -> str:
    escaped = str(key).replace("~", "~0").replace("/", "~1")
    return f"{path}/{escaped}"


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else MISSING
