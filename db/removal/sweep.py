"""Deletes runs in the background, in chunks: at the end of their retention, or with their flow or project.

A chunk is one transaction, which deletes what it has locked and looked at, so a process that is killed leaves whole
runs, and the next chunk goes on. One transaction of all processes deletes runs here at a time: two would wait for each
other's locks.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.removal import deletion, eligibility
from db.sql.any_of import any_of

_run = table(FlowRun).c

_LOCK_KEY = -1_000
"""Key of the advisory lock on PostgreSQL. Families have the keys from -1 to -256, and slots the positive ones."""
_LOCK = select(func.pg_try_advisory_xact_lock(_LOCK_KEY))


class Swept(NamedTuple):
    """What a chunk has looked at and deleted."""

    through: UUID
    """The last run that was looked at."""
    runs: Mapping[str, int]
    """Number of the deleted runs by status, with the runs below those that were looked at."""

    @property
    def total(self) -> int:
        """Number of the deleted runs."""
        return sum(self.runs.values())


def is_first(uow: UnitOfWork) -> bool:
    """Returns True if no other transaction deletes runs in the background, and keeps others from it until the end."""
    return uow.conn.dialect.name == "sqlite" or bool(uow.conn.execute(_LOCK).scalar_one())


def delete_chunk(
    uow: UnitOfWork, conditions: tuple[ColumnElement[bool], ...], after: UUID, limit: int, now: datetime
) -> Swept | None:
    """Deletes those of the next `limit` runs after `after` that match and can be deleted; None if there are no more.

    Runs whose family has not ended, or of which a retry is under way, stay.
    """
    found = uow.conn.execute(
        select(_run.id).where(*conditions, _run.id > after).order_by(_run.id).limit(limit)
    ).scalars()
    run_ids = found.all()
    if not run_ids:
        return None
    eligibility.lock(uow, run_ids)
    removable = select(_run.id).where(any_of(_run.id, run_ids), *conditions, eligibility.REFUSAL.is_(None))
    deleted = eligibility.with_descendants(uow.conn, uow.conn.execute(removable).scalars().all())
    counts = count_by_status(uow.conn, any_of(_run.id, deleted)) if deleted else {}
    if deleted:
        deletion.delete_runs(uow, deleted, now)
    return Swept(run_ids[-1], counts)


def count_by_status(conn: Connection, *conditions: ColumnElement[bool]) -> Mapping[str, int]:
    """Returns the number of the runs that match, by status."""
    query = select(_run.status, func.count()).where(*conditions).group_by(_run.status).order_by(_run.status)
    return dict(conn.execute(query).all())
