"""What stands in the queue: due runs, runs that wait for a slot, and runs that are executed, in groups.

Each statement looks at a bounded number of runs, so that a view of a queue of millions does not slow down those who
work it off.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, true, union_all

from db.models import Flow, FlowRun, Project
from db.models.types import table
from db.queue import due, slots
from db.sql.any_of import any_of
from domain.enums import QueueGroup, QueuePriority
from domain.runs.state_machine import LIVE
from domain.time import clock

_run = table(FlowRun).c
_flow = table(Flow).c
_project = table(Project).c

MAX_COUNTED = 100_000
"""Runs that one statement looks at, of one priority: a bound on what a view costs, far above a healthy queue."""


class Key(NamedTuple):
    """What the runs of a row have in common. What the grouping leaves open is None."""

    project_id: UUID | None = None
    flow_id: UUID | None = None
    priority: QueuePriority | None = None


@dataclass(slots=True)
class Backlog:
    """The runs of one group that stand in the queue."""

    key: Key
    due: int = 0
    """Runs that a worker could claim now."""
    oldest_due_at: datetime | None = None
    waiting: int = 0
    """Runs in wait queues of concurrency limits."""
    oldest_waiting_at: datetime | None = None
    executing: int = 0
    """Runs under a lease."""
    later: int = 0
    """Runs that become due by themselves."""
    next_due_at: datetime | None = None
    limit: int | None = None
    """Concurrency limit of the flow or project; None: it has none, or the group is a priority."""
    slots_in_use: int | None = None
    """RUNNING runs of the flow or project; None without a limit."""

    @property
    def length(self) -> int:
        """The number of runs for which nobody works yet."""
        return self.due + self.waiting


_KEYS: dict[QueueGroup, Callable[[Any], Key]] = {
    QueueGroup.FLOW: lambda row: Key(row.project_id, row.flow_id),
    QueueGroup.PROJECT: lambda row: Key(row.project_id),
    QueueGroup.PRIORITY: lambda row: Key(priority=due.NAMES[row.priority]),
}


def read(conn: Connection, group: QueueGroup, project_ids: Sequence[UUID] | None, at_most: int) -> Sequence[Backlog]:
    """Returns the groups of the projects (None: all), those with most waiting runs first, at most `at_most`.

    All priorities are listed, flows and projects only with runs in the queue.
    """
    now = clock.now()
    key_of, found = _KEYS[group], {}
    if group is QueueGroup.PRIORITY:
        found = {key: Backlog(key) for key in (Key(priority=due.NAMES[each]) for each in due.PRIORITIES)}

    def of(row: Any) -> Backlog:
        key = key_of(row)
        return found.setdefault(key, Backlog(key))

    for row in conn.execute(_due(now, project_ids)):
        backlog = of(row)
        backlog.due += row.number
        backlog.oldest_due_at = _earlier(backlog.oldest_due_at, row.first)
    for row in conn.execute(_waiting(project_ids)):
        backlog = of(row)
        backlog.waiting += row.number
        backlog.oldest_waiting_at = _earlier(backlog.oldest_waiting_at, row.first)
    for row in conn.execute(_not_due(now, project_ids)):
        backlog = of(row)
        if row.is_leased:
            backlog.executing += row.number
        else:
            backlog.later += row.number
            backlog.next_due_at = _earlier(backlog.next_due_at, row.first)
    if group is QueueGroup.PRIORITY:
        return list(found.values())[:at_most]
    longest = sorted(found.values(), key=lambda each: (-each.length, -each.executing, -each.later, str(each.key)))
    _add_slots(conn, longest[:at_most])
    return longest[:at_most]


def _add_slots(conn: Connection, found: Sequence[Backlog]) -> None:
    """Adds the concurrency limits of flows and projects, and the slots in use."""
    if not found:
        return
    by_flow = {each.key.flow_id: each for each in found if each.key.flow_id is not None}
    owners = (each for each in found if each.key.flow_id is None)
    by_project = {each.key.project_id: each for each in owners if each.key.project_id is not None}
    limits: dict[UUID, int] = {}
    groups: Sequence[Mapping[UUID, Backlog]] = (by_flow, by_project)
    project_ids = set()
    for columns, keys, owner in zip((_flow, _project), groups, (_flow.project_id, _project.id), strict=True):
        query = select(columns.id, owner.label("project_id"), columns.max_concurrent_runs).where(
            any_of(columns.id, list(keys)), columns.max_concurrent_runs.is_not(None)
        )
        for row in conn.execute(query) if keys else ():
            limits[row.id] = row.max_concurrent_runs
            project_ids.add(row.project_id)
    used = slots.in_use(conn, sorted(project_ids)) if project_ids else Counter[UUID]()
    for key, limit in limits.items():
        backlog = by_flow.get(key) or by_project[key]
        backlog.limit, backlog.slots_in_use = limit, used[key]


def _due(now: datetime, project_ids: Sequence[UUID] | None) -> Select[Any]:
    return _grouped(
        [_first(_run.due_at, project_ids, _run.priority == priority, _run.due_at <= now) for priority in due.PRIORITIES]
    )


def _waiting(project_ids: Sequence[UUID] | None) -> Select[Any]:
    # In any order: to sort them would mean to read all of them.
    return _grouped([_first(_run.blocked_since, project_ids, _run.blocked_by.is_not(None), is_sorted=False)])


def _not_due(now: datetime, project_ids: Sequence[UUID] | None) -> Select[Any]:
    return _grouped(
        [_first(_run.due_at, project_ids, _run.priority == priority, _run.due_at > now) for priority in due.PRIORITIES]
    )


def _first(
    at: ColumnElement[Any], project_ids: Sequence[UUID] | None, *where: ColumnElement[bool], is_sorted: bool = True
) -> Select[Any]:
    """Builds a query for at most MAX_COUNTED runs, the first ones by the instant `at`."""
    mine: ColumnElement[bool] = true()
    if project_ids is not None:
        # The second condition lets the database read the live runs of the project, where the queue is longer.
        mine = and_(_run.project_id.in_(list(project_ids)), _run.status.in_(sorted(LIVE)))
    is_leased = _run.lease_token.is_not(None).label("is_leased")
    columns = (_run.project_id, _run.flow_id, _run.priority, is_leased, at.label("at"))
    found = select(*columns).where(*where, mine)
    return select((found.order_by(at) if is_sorted else found).limit(MAX_COUNTED).subquery())


def _grouped(parts: Sequence[Select[Any]]) -> Select[Any]:
    found = union_all(*parts).subquery().c
    keys = (found.project_id, found.flow_id, found.priority, found.is_leased)
    return select(*keys, func.count().label("number"), func.min(found.at).label("first")).group_by(*keys)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)
