"""Families of runs, and the order in which transactions lock them.

A family is a run without a parent, its root, and all its descendants. To start, end, cancel or retry a
child run changes several runs of a family in one transaction. So that no two transactions deadlock, every transaction
takes its locks in this order:

0. the row of a schedule, which none of the other locks follows in the opposite order;
1. the families, in the order of `_stripe`: *shared* to create a child run or to end one, *exclusive* to end runs that
   are not the worker's own, such as all descendants of a cancelled run. Under an exclusive lock no run of the family is
   created or ended by another transaction, so one read finds all descendants that are to be stopped;
2. the rows of runs, in the order of depth and ID (`lock_runs`): a parent before its children. A transaction that locks
   a single run, or skips locked rows, needs no order;
3. the row of a bulk operation. Its chunks also take turns (`db.bulk.chunks`), for which nothing else waits;
4. quotas, then concurrency slots, then the event log (`db.assembly`).

On PostgreSQL a family is locked by an advisory lock, because its queue is fair: a cancellation waits for the
transactions that have the lock, and those that come later wait for the cancellation. Row locks that many transactions
share would let it starve. Families share a fixed number of locks, so that a bulk operation over any number of families
fits into the lock table of the server. Two families with the same lock only wait for each other. SQLite has one writer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Connection, Select, bindparam, func, select

from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.sql.any_of import any_of
from domain.runs.state_machine import FINAL, LIVE

_runs = table(FlowRun)
_run = _runs.c

_STRIPES = 256
"""Advisory locks that all families share. A transaction takes at most 256; PostgreSQL has room for 6,400 by default."""

_keys = func.unnest(bindparam("keys", type_=ARRAY(BigInteger))).column_valued("key")
_LOCK_SHARED = select(func.pg_advisory_xact_lock_shared(_keys))
_LOCK_EXCLUSIVE = select(func.pg_advisory_xact_lock(_keys))
_ROOTS = select(_run.root_run_id).where(any_of(_run.id, "run_ids")).distinct()
_LOCK_RUNS = (
    select(_run.id).where(any_of(_run.id, "run_ids")).order_by(_run.depth, _run.id).with_for_update(key_share=True)
)
_LINKS = select(
    *(_run.id, _run.root_run_id, _run.depth, _run.parent_run_id, _run.parent_position, _run.parent_attempt),
    *(_run.item_index, _run.fail_parent_on_failure, _run.retry_of_id),
).where(_run.id == bindparam("of_run"))


class Links(NamedTuple):
    """The relations of a run to other runs. They do not change while the run is live."""

    id: UUID
    root_run_id: UUID
    depth: int
    parent_run_id: UUID | None
    parent_position: int | None
    parent_attempt: int | None
    item_index: int | None
    fail_parent_on_failure: bool
    retry_of_id: UUID | None

    @property
    def fails_parent_from_outside(self) -> bool:
        """True if the failure of the run ends its parent, although no step of the parent waits for the run."""
        return (
            self.parent_run_id is not None
            and self.parent_position is None
            and self.fail_parent_on_failure
            and self.item_index is None
            and self.retry_of_id is None
        )


def links(conn: Connection, run_id: UUID) -> Links | None:
    """Returns the relations of the run `run_id` to other runs; None if it does not exist."""
    row = conn.execute(_LINKS, {"of_run": run_id}).first()
    return Links(*row) if row is not None else None


def lock(uow: UnitOfWork, root_ids: Iterable[UUID], *, exclusive: bool) -> None:
    """Locks families, given by their roots. Must precede all other locks of the transaction."""
    if uow.conn.dialect.name == "sqlite":
        return
    if keys := sorted({_stripe(root_id) for root_id in root_ids}):
        uow.conn.execute(_LOCK_EXCLUSIVE if exclusive else _LOCK_SHARED, {"keys": keys})


def lock_of_runs(uow: UnitOfWork, run_ids: Sequence[UUID], *, exclusive: bool) -> None:
    """Locks the families of runs. Must precede all other locks of the transaction, except that of a schedule."""
    if uow.conn.dialect.name != "sqlite":
        lock(uow, uow.conn.execute(_ROOTS, {"run_ids": run_ids}).scalars().all(), exclusive=exclusive)


def lock_runs(uow: UnitOfWork, run_ids: Collection[UUID]) -> None:
    """Locks the rows of runs, in the order in which all transactions lock them."""
    if uow.conn.dialect.name != "sqlite" and run_ids:
        uow.conn.execute(_LOCK_RUNS, {"run_ids": list(run_ids)})


def lock_selected(uow: UnitOfWork, run_ids: Select[tuple[UUID]], parameters: Mapping[str, Any]) -> None:
    """Locks the rows of the runs that `run_ids` selects with these parameters, as `lock_runs` does. Their IDs do not
    pass through this process."""
    if uow.conn.dialect.name != "sqlite":
        locked = select(_run.id).where(_run.id.in_(run_ids)).order_by(_run.depth, _run.id)
        rows = locked.with_for_update(key_share=True).subquery()
        uow.conn.execute(select(func.count()).select_from(rows), parameters)


def live_descendants(conn: Connection, run_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Returns the live descendants of runs, through runs in any status."""
    return _descendants(conn, run_ids, LIVE)


def final_descendants(conn: Connection, run_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Returns the descendants of runs that have ended."""
    return _descendants(conn, run_ids, FINAL)


def _descendants(conn: Connection, run_ids: Sequence[UUID], statuses: Collection[str]) -> Sequence[UUID]:
    below = select(_run.id).where(any_of(_run.parent_run_id, run_ids)).cte("below", recursive=True)
    below = below.union(select(_run.id).join(below, _run.parent_run_id == below.c.id))
    query = select(_run.id).join(below, _run.id == below.c.id).where(_run.status.in_(sorted(statuses)))
    return conn.execute(query.order_by(_run.depth, _run.id)).scalars().all()


def parents(conn: Connection, run_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Returns the parents of runs."""
    query = select(_run.parent_run_id).where(any_of(_run.id, run_ids), _run.parent_run_id.is_not(None)).distinct()
    return conn.execute(query).scalars().all()


def ancestors(conn: Connection, run_id: UUID) -> Sequence[UUID]:
    """Returns the ancestors of a run, from its parent up to its root."""
    above = select(_run.parent_run_id.label("id")).where(_run.id == run_id).cte("above", recursive=True)
    above = above.union(select(_run.parent_run_id).join(above, _run.id == above.c.id))
    return conn.execute(select(above.c.id).where(above.c.id.is_not(None))).scalars().all()


def retried_chain(conn: Connection, run_id: UUID) -> Sequence[UUID]:
    """Returns the runs that `run_id` retries, directly or through other retries."""
    chain = select(_run.retry_of_id.label("id")).where(_run.id == run_id).cte("chain", recursive=True)
    chain = chain.union(select(_run.retry_of_id).join(chain, _run.id == chain.c.id))
    return conn.execute(select(chain.c.id).where(chain.c.id.is_not(None))).scalars().all()


def later_chain(conn: Connection, run_id: UUID) -> Sequence[UUID]:
    """Returns the retries of `run_id`, direct or through other retries, oldest first."""
    chain = select(_run.id, _run.attempt).where(_run.retry_of_id == run_id).cte("chain", recursive=True)
    chain = chain.union(select(_run.id, _run.attempt).join(chain, _run.retry_of_id == chain.c.id))
    return conn.execute(select(chain.c.id).order_by(chain.c.attempt, chain.c.id)).scalars().all()


def _stripe(root_id: UUID) -> int:
    """Returns the key of a family's lock. It is negative, because the locks on slots have positive keys."""
    return -1 - root_id.int % _STRIPES
