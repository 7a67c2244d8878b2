"""The files that runs produce: what is known of them. Their bytes are in the file store."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, RunFile
from db.models.types import table
from db.sql.rows import AnyRow, group_by, select_columns

_table = table(RunFile)
_file = _table.c
_runs = table(FlowRun)

_INSERT = insert(_table)
_kept = _file.purged_at.is_(None)


def create(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write down files whose bytes are in the store; those that are there already stay as they are."""
    # Of a commit whose answer was lost nobody knows whether it was made, and so it is tried again.
    keys = [row["id"] for row in rows]
    known = set(uow.conn.execute(select(_file.id).where(_file.id.in_(keys))).scalars())
    if new := [row for row in rows if row["id"] not in known]:
        uow.conn.execute(_INSERT, new)


def by_runs(conn: Connection, run_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[AnyRow]]:
    """The files of each run, oldest first."""
    query = (
        select(*select_columns(_table, {*columns, "run_id"})).where(_file.run_id.in_(run_ids), _kept).order_by(_file.id)
    )
    return group_by(conn.execute(query), "run_id")


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The files `keys`, each with the `project_id` of its run."""
    query = select(*select_columns(_table, columns), _runs.c.project_id).join_from(
        _table, _runs, _file.run_id == _runs.c.id
    )
    return {row.id: row for row in conn.execute(query.where(_file.id.in_(keys), _kept))}


def count_of_run(conn: Connection, run_id: UUID) -> int:
    """How many files a run has."""
    return conn.execute(select(func.count()).where(_file.run_id == run_id)).scalar_one()


def purged(conn: Connection, limit: int) -> Sequence[AnyRow]:
    """Files that were given up, `limit` at the most: their `id` and `key`. The store may still have their bytes."""
    query = select(_file.id, _file.key).where(_file.purged_at.is_not(None)).order_by(_file.id)
    return conn.execute(query.limit(limit)).all()


def remove(uow: UnitOfWork, keys: Sequence[UUID]) -> None:
    """Forget files whose bytes are deleted."""
    uow.conn.execute(delete(_table).where(_file.id.in_(keys)))


def orphans(conn: Connection, found: Mapping[UUID, UUID]) -> set[UUID]:
    """Of the files found in the store, each with its run, those without a row, of runs that are in this database.

    What another database has put into the same store is none of them.
    """
    known = set(conn.execute(select(_file.id).where(_file.id.in_(found))).scalars())
    unknown = {file_id: run_id for file_id, run_id in found.items() if file_id not in known}
    ours = set(conn.execute(select(_runs.c.id).where(_runs.c.id.in_(set(unknown.values())))).scalars())
    return {file_id for file_id, run_id in unknown.items() if run_id in ours}
