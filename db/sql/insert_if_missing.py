"""An INSERT that leaves a row with the same key as it is."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


class InsertIfMissing:
    """Inserts a row unless the table has one with the same key, which another transaction may be inserting."""

    def __init__(self, target: Table) -> None:
        self._by_dialect = {
            "sqlite": sqlite.insert(target).on_conflict_do_nothing(),
            "postgresql": postgresql.insert(target).on_conflict_do_nothing(),
        }

    def execute(self, conn: Connection, row: Mapping[str, Any]) -> bool:
        """Returns False if there is such a row."""
        return conn.execute(self._by_dialect[conn.dialect.name], row).rowcount == 1
