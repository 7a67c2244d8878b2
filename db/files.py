"""The files that runs produce: what is known of them. Their bytes are in the file store."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, insert, select

from db.models import FlowRun, RunFile
from db.models.types import table
from db.rows import AnyRow, grouped, pick

_table = table(RunFile)
_file = _table.c
_runs = table(FlowRun)

_INSERT = insert(_table)


def create(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write down files whose bytes are in the store; those that are there already stay as they are."""
    # Of a commit whose answer was lost nobody knows whether it was made, and so it is tried again.
    keys = [row["id"] for row in rows]
    known = set(conn.execute(select(_file.id).where(_file.id.in_(keys))).scalars())
    if new := [row for row in rows if row["id"] not in known]:
        conn.execute(_INSERT, new)


def by_runs(conn: Connection, run_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[AnyRow]]:
    """The files of each run, oldest first."""
    query = select(*pick(_table, {*columns, "run_id"})).where(_file.run_id.in_(run_ids)).order_by(_file.id)
    return grouped(conn.execute(query), "run_id")


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The files `keys`, each with the `project_id` of its run."""
    query = select(*pick(_table, columns), _runs.c.project_id).join_from(_table, _runs, _file.run_id == _runs.c.id)
    return {row.id: row for row in conn.execute(query.where(_file.id.in_(keys)))}


def count_of_run(conn: Connection, run_id: UUID) -> int:
    """How many files a run has."""
    return conn.execute(select(func.count()).where(_file.run_id == run_id)).scalar_one()
