"""Conditions on one value in the metadata of runs, such as the one at `customer.id`.

`predicate` implements them in memory and on SQLite. The SQL for PostgreSQL in db/runs/filter.py implements the same
conditions.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "greater_than": operator.gt,
    "at_least": operator.ge,
    "less_than": operator.lt,
    "at_most": operator.le,
}
"""The attributes of `MetadataCondition` that bound a number, each with its comparison."""
_SEPARATOR = re.compile(r"\\(?P<escaped>[\\.])|\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataCondition:
    """Conditions on the value at a path. They are ANDed; one that is None restricts nothing.

    Null counts as no value: `{"customer": null}` names no customer. Values are JSON texts, since `1` and `true` are
    equal in Python.
    """

    path: tuple[str, ...]
    """Keys of nested objects, from the outermost to the innermost. Elements of lists cannot be addressed."""
    exists: bool | None = None
    """True: a value exists. False: no value exists."""
    equals: str | None = None
    """The value is this string, number or boolean."""
    one_of: tuple[str, ...] | None = None
    """The value is one of these strings, numbers and booleans. An empty list matches nothing."""
    prefix: str | None = None
    """The value is a string that begins with this text. An empty text restricts nothing."""
    greater_than: float | None = None
    """The value is a number greater than this one."""
    at_least: float | None = None
    """The value is a number greater than or equal to this one."""
    less_than: float | None = None
    """The value is a number less than this one."""
    at_most: float | None = None
    """The value is a number less than or equal to this one."""

    @property
    def is_blank(self) -> bool:
        """True if the condition restricts nothing."""
        is_given = (value is not None for value in (self.exists, self.equals, self.one_of))
        return not any(is_given) and not self.prefix and not self.bounds

    @property
    def needs_value(self) -> bool:
        """True if only documents with a value at the path can match the condition."""
        return bool(self.exists or self.prefix or self.bounds) or self.equals is not None or self.one_of is not None

    @property
    def matches_nothing(self) -> bool:
        """True if no value can match the condition."""
        return self.one_of == ()

    @property
    def bounds(self) -> Mapping[str, float]:
        """Returns the bounds of the number that are given, by attribute."""
        return {name: bound for name in COMPARISONS if (bound := getattr(self, name)) is not None}

    def predicate(self) -> Callable[[Any], bool]:
        """Returns a function that is true for the documents, as parsed JSON, that match the condition."""
        tests: list[Callable[[Any], bool]] = []
        if self.exists is not None:
            tests.append(lambda value: (value is not None) is self.exists)
        if self.equals is not None:
            tests.append(_is_one_of([self.equals]))
        if self.one_of is not None:
            tests.append(_is_one_of(self.one_of))
        if prefix := self.prefix:
            tests.append(lambda value: isinstance(value, str) and value.startswith(prefix))
        tests += (_is_within(COMPARISONS[name], bound) for name, bound in self.bounds.items())
        path = self.path

        def predicate(document: Any) -> bool:
            for key in path:
                document = document.get(key) if isinstance(document, dict) else None
            return all(test(document) for test in tests)

        return predicate

    def to_text(self) -> str:
        """Returns the condition as JSON text, for `from_text`."""
        return orjson.dumps(self).decode()


def from_text(text: str) -> MetadataCondition:
    """Returns the condition that `MetadataCondition.to_text` wrote."""
    values = orjson.loads(text)
    lists = {name: tuple(values[name]) for name in ("path", "one_of") if values[name] is not None}
    return MetadataCondition(**{**values, **lists})


def split_path(text: str) -> tuple[str, ...]:
    r"""Returns the keys that `text` names: `customer.id` is the key `id` in the object at the key `customer`.

    `\.` is a full stop and `\\` a backslash within a key.
    """
    keys, end = [""], 0
    for found in _SEPARATOR.finditer(text):
        keys[-1] += text[end : found.start()] + (found["escaped"] or "")
        end = found.end()
        if found["escaped"] is None:
            keys.append("")
    keys[-1] += text[end:]
    return tuple(keys)


def document_with(path: tuple[str, ...], value: str) -> str:
    """Returns the JSON text of the smallest document that has `value`, a JSON text, at `path`."""
    document = orjson.loads(value)
    for key in reversed(path):
        document = {key: document}
    return orjson.dumps(document).decode()


def _is_one_of(texts: tuple[str, ...] | list[str]) -> Callable[[Any], bool]:
    # In Python 1 == True, in JSON 1 and true differ.
    allowed = {(isinstance(value, bool), value) for value in map(orjson.loads, texts)}
    return lambda value: isinstance(value, str | int | float) and (isinstance(value, bool), value) in allowed


def _is_within(compare: Callable[[Any, Any], Any], bound: float) -> Callable[[Any], bool]:
    # The values are compared as PostgreSQL compares double precision.
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and bool(compare(float(value), bound))
    )
