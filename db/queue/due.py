"""The queue of due runs: the run table itself, on both databases.

A run is due when its `due_at` has passed. A new run is due at once, a waiting one later, a claimed one when its lease
ends, a final one never. Due runs are claimed by priority, and within a priority longest due first. The index
`ix_run_due` has them in this order. A claim reads one range of it for each priority, so it neither sorts a backlog nor
reads runs that are due later, such as those under lease.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Integer, bindparam, case, func, select, union_all

from db.models import FlowRun
from db.models.types import table
from domain.enums import QueuePriority

_runs = table(FlowRun)
_run = _runs.c

INTERACTIVE = 20
"""Priority of a retry of a single run: a person waits for it."""
STARTED_RUN = 10
"""Priority of a run that has started: it is finished before new work is begun."""
NEW = 0
"""Priority of all other runs."""
PRIORITIES = (INTERACTIVE, STARTED_RUN, NEW)
"""All priorities, in the order in which runs are claimed."""
NAMES = {INTERACTIVE: QueuePriority.INTERACTIVE, STARTED_RUN: QueuePriority.STARTED, NEW: QueuePriority.NEW}
"""The priorities by the names that clients see."""

STARTED: ColumnElement[int] = case((_run.priority < STARTED_RUN, STARTED_RUN), else_=_run.priority)
"""Priority of a run from its first claim on."""


_BY_HAND = ("RETRY", "RERUN")
"""Trigger methods of runs that a person started and waits for."""


def initial_priority(trigger_method: str, *, in_bulk: bool) -> int:
    """Returns the priority of a new run."""
    return INTERACTIVE if trigger_method in _BY_HAND and not in_bulk else NEW


def select_due(columns: Sequence[ColumnElement[Any]], *where: ColumnElement[bool], limit: str) -> CompoundSelect[Any]:
    """Builds a query for due runs, in the order of the queue, each locked; rows that are locked are skipped.

    Its parameters are `now` and the number of runs, called `limit`. Sort the rows by `priority` and `due_at`, which the
    query adds to `columns`: UNION ALL guarantees no order.
    """
    at_most = bindparam(limit, type_=Integer)
    parts = [
        select(
            select(*columns, _run.priority, _run.due_at)
            .where(_run.priority == priority, _run.due_at <= bindparam("now"), *where)
            .order_by(_run.due_at)
            .limit(at_most)
            .with_for_update(key_share=True, skip_locked=True, of=_runs)
            .subquery()
        )
        for priority in PRIORITIES
    ]
    return union_all(*parts).limit(at_most)


def in_order(rows: Sequence[Any]) -> list[Any]:
    """Returns rows of `select_due` in the order of the queue."""
    return sorted(rows, key=lambda row: (-row.priority, row.due_at))


_first_of_each = union_all(
    *(
        select(func.min(_run.due_at).label("due_at")).where(_run.priority == priority, _run.due_at.is_not(None))
        for priority in PRIORITIES
    )
).subquery()
_NEXT = select(func.min(_first_of_each.c.due_at))


def next_due(conn: Connection) -> datetime | None:
    """Returns the time at which the next run is due; None if there is none."""
    return conn.execute(_NEXT).scalar()
