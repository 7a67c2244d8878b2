"""How busy the queue is: due runs, runs that wait for a slot, and the slots in use. Reads of bounded cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select

from db.models import Flow, FlowRun, Project
from db.models.types import table
from db.queue import due, slots
from domain.time import clock

_run = table(FlowRun).c
_flow = table(Flow).c
_project = table(Project).c

MAX_COUNTED = 100_000
"""Runs of one kind that are counted. More are not told apart: to count a million index entries takes 100 ms."""
MAX_LIMITS = 200
"""Concurrency limits whose slots are counted; those of the projects come first, the oldest of them first."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Runs that wait for the same thing."""

    count: int
    """Their number, at most MAX_COUNTED."""
    since: datetime | None
    """Since when the first of them waits; None: there are none."""


class SlotUse(NamedTuple):
    """A concurrency limit, and the slots in use."""

    project_id: UUID
    flow_id: UUID | None
    """None: the limit of the project."""
    limit: int
    used: int
    project: str
    flow: str | None


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """The state of the queue."""

    due: dict[int, Waiting]
    """Due runs by priority, those of lost workers too."""
    blocked: Waiting
    """Runs that wait for a slot."""
    slots: Sequence[SlotUse]
    """The concurrency limits."""


def read(conn: Connection) -> QueueLoad:
    """Returns the state of the queue."""
    return QueueLoad(_due(conn), _blocked(conn), _slots(conn))


def _due(conn: Connection) -> dict[int, Waiting]:
    now = clock.now()
    waiting = {}
    for priority in due.PRIORITIES:
        found = select(_run.due_at).where(_run.priority == priority, _run.due_at <= now)
        first = found.order_by(_run.due_at).limit(MAX_COUNTED).subquery()
        waiting[priority] = Waiting(*conn.execute(select(func.count(), func.min(first.c.due_at))).one())
    return waiting


def _blocked(conn: Connection) -> Waiting:
    found = select(_run.blocked_since).where(_run.blocked_by.is_not(None)).limit(MAX_COUNTED).subquery()
    return Waiting(*conn.execute(select(func.count(), func.min(found.c.blocked_since))).one())


def _slots(conn: Connection) -> Sequence[SlotUse]:
    limited = (
        select(_project.id, _project.id.label("project_id"), _project.max_concurrent_runs, _project.name)
        .where(_project.max_concurrent_runs.is_not(None))
        .order_by(_project.id)
        .limit(MAX_LIMITS)
    )
    projects = conn.execute(limited).all()
    flows = conn.execute(
        select(_flow.id, _flow.project_id, _flow.max_concurrent_runs, _flow.name)
        .where(_flow.max_concurrent_runs.is_not(None))
        .order_by(_flow.id)
        .limit(MAX_LIMITS - len(projects))
    ).all()
    project_ids = sorted({row.project_id for row in (*projects, *flows)})
    if not project_ids:
        return []
    owners = conn.execute(select(_project.id, _project.name).where(_project.id.in_(project_ids)))
    names = {row.id: row.name for row in owners}
    used = slots.in_use(conn, project_ids)
    return [
        SlotUse(row.project_id, flow_id, row.max_concurrent_runs, used[row.id], names[row.project_id], flow)
        for row, flow_id, flow in (
            *((row, None, None) for row in projects),
            *((row, row.id, row.name) for row in flows),
        )
    ]
