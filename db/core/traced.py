"""A database whose statements are spans."""

import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from functools import lru_cache, partial
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from domain.observation import spans
from domain.observation.spans import NO_SPAN, Span, SpanKind

T = TypeVar("T")
P = ParamSpec("P")

MAX_STATEMENT = 2_000
"""Characters of a statement in a span. Parameters are not part of it, so it has no data of runs."""
_NAMED_STATEMENTS = 2_000
"""Statements whose names are kept."""
_VERB = re.compile(r"\s*(?:WITH\b.*?\)\s*)?(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE | re.DOTALL)
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?(\w+)", re.IGNORECASE)


class TracedDatabase(Database):
    """Begins a span for each statement and each unit of work of a trace."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open: WeakKeyDictionary[Connection, AbstractContextManager[Span]] = WeakKeyDictionary()
        """The spans of the statements that are being executed."""
        for engine in self._engines():
            event.listen(engine, "before_cursor_execute", self._begin)
            event.listen(engine, "after_cursor_execute", self._end)
            event.listen(engine, "handle_error", self._fail)

    def _engines(self) -> Sequence[Engine]:
        if self._readers is not None and self._writer is not None:
            return [self._readers.engine, self._writer.engine]
        return [self._reading_engine.sync_engine, self._engine.sync_engine]

    def fetch(self, statement: str, arguments: Sequence[object]) -> Coroutine[Any, Any, Sequence[Any]]:
        """See `Database.fetch`. Outside of traces, a statement has no frame more."""
        if spans.current() is NO_SPAN:
            return super().fetch(statement, arguments)
        return self._traced_fetch(statement, arguments)

    async def _traced_fetch(self, statement: str, arguments: Sequence[object]) -> Sequence[Any]:
        with self._span(statement):
            return await super().fetch(statement, arguments)

    def _read(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        return super()._read(self._carried(query), *args, **kwargs)

    async def _write(self, work: Callable[[UnitOfWork], T]) -> T:
        with spans.current().child("transaction", is_detail=True) as span:
            return await super()._write(work if span is NO_SPAN else self._carried(work))

    def _carried(self, work: Callable[P, T]) -> Callable[P, T]:
        """Returns `work` for the threads of SQLite, in which the current span is that of this task.

        The greenlets in which SQLAlchemy talks to PostgreSQL have the context of their task already.
        """
        if self.dialect != "sqlite" or spans.current() is NO_SPAN:
            return work
        return partial(copy_context().run, work)

    def _span(self, statement: str) -> AbstractContextManager[Span]:
        if (parent := spans.current()) is NO_SPAN:
            return parent.child("")
        attributes = {"db.system.name": self.dialect, "db.query.text": statement[:MAX_STATEMENT]}
        return parent.child(statement_name(statement), SpanKind.CLIENT, attributes)

    def _begin(self, conn: Connection, _: Any, statement: str, *__: Any) -> None:
        if spans.current() is not NO_SPAN:
            opened = self._span(statement)
            opened.__enter__()
            self._open[conn] = opened

    def _end(self, conn: Connection, *_: Any) -> None:
        if (opened := self._open.pop(conn, None)) is not None:
            opened.__exit__(None, None, None)

    def _fail(self, context: Any) -> None:
        conn, error = context.connection, context.original_exception
        if conn is not None and (opened := self._open.pop(conn, None)) is not None:
            opened.__exit__(type(error), error, None)


@lru_cache(maxsize=_NAMED_STATEMENTS)
def statement_name(statement: str) -> str:
    """Returns what a statement does, and to which table first: `SELECT flow_run`."""
    verb, table = _VERB.match(statement), _TABLE.search(statement)
    words = (verb.group(1).upper() if verb else statement.split(maxsplit=1)[0].upper(), table.group(1) if table else "")
    return " ".join(filter(None, words))
