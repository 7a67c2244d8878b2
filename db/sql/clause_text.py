"""SQL conditions as text with values, for statements that are executed without SQLAlchemy.

SQLAlchemy builds and compiles a condition once. The text is then kept for equal filters.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, TypeVar

from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg

from domain.time import clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LATER = timedelta(days=400)
"""Time after which a condition that depends on the present instant differs: an earlier bound of the filter no longer
covers it, and months have other ends."""
_MARKS = {"postgresql": re.compile(r"\$(\d+)"), "sqlite": re.compile(r":(\d+)")}
_DIALECTS: Mapping[str, Dialect] = {
    "postgresql": asyncpg.dialect(),  # type: ignore[no-untyped-call]
    "sqlite": sqlite.dialect(paramstyle="numeric"),
}


@dataclass(frozen=True, slots=True)
class ClauseText:
    """A condition as text. Its parameters are written `«name»`; `values` has their values in the driver's types."""

    text: str
    values: Mapping[str, object]


class _Moving(Enum):
    YES = auto()


class Recent(OrderedDict[K, V]):
    """A mapping that keeps the most recently used entries."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def find(self, key: K) -> V | None:
        """Returns the value of `key`, or None."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> V:
        """Keeps `value`, which it returns."""
        self[key] = value
        if len(self) > self._size:
            self.popitem(last=False)
        return value


class ClauseTexts:
    """The texts of the most recently used conditions."""

    def __init__(self, size: int) -> None:
        self._recent: Recent[Hashable, ClauseText | _Moving] = Recent(size)

    def of(self, key: Hashable, build: Callable[[datetime], ClauseElement], dialect: str) -> ClauseText:
        """Returns the text of the condition that `build` returns for the present instant; `key` names it.

        A condition whose values depend on the present instant is built each time.
        """
        known = self._recent.find((dialect, key))
        if isinstance(known, ClauseText):
            return known
        now = clock.now()
        text = clause_text(build(now), dialect)
        if known is None:
            moves = clause_text(build(now + _LATER), dialect) != text
            self._recent.put((dialect, key), _Moving.YES if moves else text)
        return text


def clause_text(clause: ClauseElement, dialect: str, prefix: str = "w") -> ClauseText:
    """Returns the text of a condition. The names of its parameters begin with `prefix`."""
    compiled: Any = clause.compile(dialect=_DIALECTS[dialect])
    expanded = compiled.construct_expanded_state()
    processors = {**compiled._bind_processors, **expanded.processors}  # noqa: SLF001 - what its own execution does
    values: dict[str, object] = {}
    for number, name in enumerate(expanded.positiontup or (), start=1):
        value, process = expanded.parameters[name], processors.get(name)
        values[f"{prefix}{number}"] = process(value) if process is not None else value
    return ClauseText(_MARKS[dialect].sub(rf"«{prefix}\1»", expanded.statement), values)
