"""Reads and writes of the files that runs produce. Their bytes are in the file store."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import DeletedFile, FlowRun, RunFile, RunFileReference
from db.models.types import table
from db.row_types import FileRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_all, group_by, select_columns
from domain.time import clock

_table = table(RunFile)
_file = _table.c
_references = table(RunFileReference)
_reference = _references.c
_runs = table(FlowRun)
_deleted_table = table(DeletedFile)
_deleted = _deleted_table.c

_INSERT = insert(_table)


class ProjectFile(FileRow, Protocol):
    """A file with the project of its run."""

    project_id: UUID


class PurgedFile(NamedTuple):
    """A purged file, whose row is deleted after its bytes."""

    id: UUID
    key: str
    """The key of the bytes in the file store."""


_kept = _file.purged_at.is_(None)


def create(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts files whose bytes are in the store. Existing files stay unchanged."""
    # A caller that lost the response of a commit tries again, although the commit may have succeeded.
    keys = [row["id"] for row in rows]
    known = set(uow.conn.execute(select(_file.id).where(_file.id.in_(keys))).scalars())
    if new := [row for row in rows if row["id"] not in known]:
        uow.conn.execute(_INSERT, new)


def by_runs(conn: Connection, run_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[FileRow]]:
    """Returns the files of each run, oldest first, with `id` and `run_id`.

    The files of steps whose results a retry keeps are files of the retry, too.
    """
    selected = select_columns(_table, columns)
    own = select(*selected, _file.run_id.label("run_id")).where(_file.run_id.in_(run_ids), _kept)
    referred = select(*selected, _reference.run_id.label("run_id"))
    referred = referred.join_from(_table, _references, _reference.file_id == _file.id)
    referred = referred.where(_reference.run_id.in_(run_ids), _kept)
    rows = own.union_all(referred).subquery()
    return group_by(fetch_all(conn, select(rows).order_by(rows.c.id)), "run_id")


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, ProjectFile]:
    """Returns the files `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, columns), _runs.c.project_id).join_from(
        _table, _runs, _file.run_id == _runs.c.id
    )
    return {row.id: row for row in fetch_all(conn, query.where(_file.id.in_(keys), _kept))}


def count_of_run(conn: Connection, run_id: UUID) -> int:
    """Returns the number of files of a run."""
    return conn.execute(select(func.count()).where(_file.run_id == run_id)).scalar_one()


def purge(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Purges the files of runs. Files to which other runs refer become files of the oldest of these runs.

    Files are only marked here: maintenance deletes their bytes in the file store before their rows.
    """
    uow.conn.execute(delete(_references).where(_reference.run_id.in_(run_ids)))
    heirs = select(_reference.file_id, _reference.run_id).join_from(_references, _table, _file.id == _reference.file_id)
    heirs = heirs.where(_file.run_id.in_(run_ids)).order_by(_reference.run_id.desc())
    for file_id, run_id in dict(uow.conn.execute(heirs).all()).items():
        uow.conn.execute(update(_table).where(_file.id == file_id).values(run_id=run_id))
        inherited = (_reference.file_id == file_id, _reference.run_id == run_id)
        uow.conn.execute(delete(_references).where(*inherited))
    uow.conn.execute(update(_table).where(_file.run_id.in_(run_ids)).values(purged_at=clock.now()))


def erase(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Gives up the files of runs, as `purge` does, and their names."""
    purge(uow, run_ids)
    is_erased = (any_of(_file.run_id, run_ids), _file.purged_at.is_not(None))
    uow.conn.execute(update(_table).where(*is_erased).values(name="", media_type=""))


def delete_of_runs(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Deletes the rows of the files of runs, which are about to be deleted; maintenance deletes their bytes."""
    purge(uow, run_ids)
    of_runs = any_of(_file.run_id, run_ids)
    uow.conn.execute(insert(_deleted_table).from_select(["id", "key"], select(_file.id, _file.key).where(of_runs)))
    uow.conn.execute(delete(_table).where(of_runs))


def purged(conn: Connection, limit: int) -> Sequence[PurgedFile]:
    """Returns at most `limit` purged files, and files of deleted runs. The store may still have their bytes."""
    query = select(_file.id, _file.key).where(_file.purged_at.is_not(None)).order_by(_file.id)
    rows = conn.execute(query.limit(limit)).all() or conn.execute(select(_deleted.id, _deleted.key).limit(limit)).all()
    return [PurgedFile(*row) for row in rows]


def remove(uow: UnitOfWork, keys: Sequence[UUID]) -> None:
    """Deletes the rows of files whose bytes are deleted."""
    uow.conn.execute(delete(_table).where(_file.id.in_(keys)))
    uow.conn.execute(delete(_deleted_table).where(_deleted.id.in_(keys)))


def orphans(conn: Connection, stored: Mapping[UUID, UUID]) -> set[UUID]:
    """Returns the stored files, given with their runs, that have no row although their run is in this database.

    Files of runs in another database with the same store are left out.
    """
    known = set(conn.execute(select(_file.id).where(_file.id.in_(stored))).scalars())
    unknown = {file_id: run_id for file_id, run_id in stored.items() if file_id not in known}
    ours = set(conn.execute(select(_runs.c.id).where(_runs.c.id.in_(set(unknown.values())))).scalars())
    return {file_id for file_id, run_id in unknown.items() if run_id in ours}
