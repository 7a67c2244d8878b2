"""SQL compiled once for all databases of the process.

Each test opens a database of its own, and SQLAlchemy compiles every statement again for each engine: that was a seventh
of the suite's time.
"""

from typing import Any

from sqlalchemy import Engine, Uuid
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_SIZE = 3_000
"""Statements kept in each process: more than there are without those that random tests make up."""


class _CompiledStatements(LRUCache[Any, Any]):
    """A cache for engines whose dialects are not the same object, and alike in all that statements depend on."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_with_kind(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_with_kind(key), value)


def _with_kind(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect = key[0]
    return (type(dialect), dialect._json_deserializer, dialect.colspecs.get(Uuid), *key[1:])


_shared = _CompiledStatements(_SIZE)


def _share(engine: Engine) -> None:
    engine._compiled_cache = _shared


def share_compiled_statements() -> None:
    """Makes all new engines of this process share their compiled statements."""
    for dialect in (PGDialect_asyncpg, SQLiteDialect_pysqlite):
        dialect.engine_created = _share  # type: ignore[method-assign]
