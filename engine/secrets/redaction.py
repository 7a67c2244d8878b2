"""Redaction: parts of inputs and outputs that a definition keeps out of the journal, by path.

A path such as `output.body.token` names a part of a step's input or output; `*` stands for every key or element. The
journal has a mask there. Later steps of the run still see the value of a redacted output: the journal keeps it
encrypted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from domain import json_codec
from domain.errors import NumberOutOfRangeError
from engine.secrets.masks import MASK, MIN_LENGTH

Key = str | int
Location = tuple[Key, ...]


class Redaction:
    """The redacted parts of a step's input, or of its output."""

    def __init__(self, paths: Iterable[str], root: str) -> None:
        """`root` is `input` or `output`; paths with another root are ignored."""
        parts = (path.split(".") for path in paths)
        self._paths = [tuple(rest) for first, *rest in parts if first == root]

    def __bool__(self) -> bool:
        return bool(self._paths)

    def removed(self, value: Any) -> tuple[Any, list[tuple[Location, Any]]]:
        """Returns `value` with masks in it, and the redacted parts with their locations."""
        found: dict[Location, Any] = {}
        for path in self._paths:
            found.update(_matches(value, path, ()))
        # A part inside of another redacted part is removed with it.
        outer = {place: part for place, part in found.items() if not any(place[:n] in found for n in range(len(place)))}
        return put(value, dict.fromkeys(outer, MASK)), list(outer.items())

    def removed_of_error(self, details: Any) -> tuple[Any, list[tuple[Location, Any]]]:
        """Returns the details of an error like `removed`. Their `body` is the start of a response as text: as JSON it
        has the parts of the output that the step would have had."""
        body = details.get("body") if self and isinstance(details, dict) else None
        if not isinstance(body, str):
            return details, []
        try:
            parsed = json_codec.parse(body.encode(errors="replace"))
        except (ValueError, NumberOutOfRangeError):
            # Truncated JSON cannot be parsed, so its redacted parts cannot be told from the others.
            parsed = MASK if body.lstrip()[:1] in ("{", "[") and self._concerns("body") else body
        shown, removed = self.removed({**details, "body": parsed})
        if parsed is not MASK and not removed:
            return details, []
        if not isinstance(shown["body"], str):
            shown = {**shown, "body": orjson.dumps(shown["body"]).decode()}
        return shown, removed

    def _concerns(self, name: str) -> bool:
        """Returns True if a path leads to the member `name` of the output, or into it."""
        return any(not path or path[0].lower() in ("*", name) for path in self._paths)


def put(value: Any, parts: Mapping[Location, Any]) -> Any:
    """Returns a copy of `value` with other `parts` at their locations."""
    if not parts:
        return value
    if () in parts:
        return parts[()]
    below: dict[Key, dict[Location, Any]] = {}
    for place, part in parts.items():
        below.setdefault(place[0], {})[place[1:]] = part
    if isinstance(value, dict):
        return {key: put(entry, below.get(key, {})) for key, entry in value.items()}
    if isinstance(value, list):
        return [put(entry, below.get(index, {})) for index, entry in enumerate(value)]
    return value


def texts(value: Any) -> Iterator[str]:
    """Yields the strings in `value` that are long enough to be masked where they are repeated."""
    if isinstance(value, str):
        if len(value.strip()) >= MIN_LENGTH:
            yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from texts(entry)


def _matches(value: Any, path: Sequence[str], place: Location) -> Iterator[tuple[Location, Any]]:
    if not path:
        yield place, value
        return
    first, rest = path[0], path[1:]
    if isinstance(value, dict):
        # The case of header names does not count.
        for key, entry in value.items():
            if first in ("*", key) or key.lower() == first.lower():
                yield from _matches(entry, rest, (*place, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            if first in ("*", str(index)):
                yield from _matches(entry, rest, (*place, index))
