"""The callback URLs of runs. A retry has that of the run which it retries, unless it has its own."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, insert, literal_column, select

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, RunCallback
from db.models.types import table
from db.sql.any_of import any_of

_table = table(RunCallback)
_callback = _table.c
_run = table(FlowRun).c
_DEPTH = 1_000
"""Retries of one run that are followed back at most."""


class Callback(NamedTuple):
    """Where the events of a run are sent."""

    run_id: UUID
    """The run that has the URL."""
    lane: UUID


def add(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts the callback of a new run."""
    uow.conn.execute(insert(_table), dict(row))


def of_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, Callback]:
    """Returns the callbacks of runs that have one, or are retries of a run that has one."""
    start = select(_run.id.label("of_run"), _run.id.label("run_id"), literal_column("0").label("depth"))
    chain = start.where(any_of(_run.id, list(run_ids))).cte("chain", recursive=True)
    # Not behind a run with its own callback: nearer ones come first.
    earlier = (
        select(chain.c.of_run, _run.retry_of_id, chain.c.depth + 1)
        .join(chain, chain.c.run_id == _run.id)
        .where(_run.retry_of_id.is_not(None), chain.c.depth < _DEPTH)
    )
    chain = chain.union_all(earlier)
    query = (
        select(chain.c.of_run, _callback.run_id, _callback.lane)
        .join(_table, _callback.run_id == chain.c.run_id)
        .order_by(chain.c.depth.desc())
    )
    return {row.of_run: Callback(row.run_id, row.lane) for row in conn.execute(query)}


def by_runs(conn: Connection, run_ids: Collection[UUID]) -> Mapping[UUID, tuple[str, str]]:
    """Returns of the callbacks of these very runs the key that encrypted the URL, and the encrypted URL."""
    query = select(_callback.run_id, _callback.key_id, _callback.sealed).where(any_of(_callback.run_id, list(run_ids)))
    return {row.run_id: (row.key_id, row.sealed) for row in conn.execute(query)}
