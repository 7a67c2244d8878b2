"""Which runs may go on: limits of concurrency, per flow and per project.

A run takes a place of its flow and of its project while it is RUNNING. A paused run takes none, and asks for one again
when it goes on, so a parent that waits for its children never keeps them from running. RUNNING runs wait for time and
for the outside world alone, never for a place, so every place becomes free some day.

A claim of due runs asks here. A run without a free slot leaves the queue of due runs for a wait queue: its flow's,
if the flow has a limit, or else its project's. `blocked_since` keeps the time at which it became due, so that it
comes back to where it stood. The transaction that releases a slot promotes the first run of the wait queues that have
a free slot: it is due again. Only a claim, and an answer that resumes a run, take slots.

On PostgreSQL one advisory lock for each project makes this exact. It is taken by a statement of its own, before the one
that counts: a statement sees what was committed when it began, so one that both locks and counts would count what was
true before it waited. The lock is the last that a transaction waits for (units of work see to it), so it is part of no
circle. SQLite has one writer. Runs without limits take no lock and cost no statement.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    union_all,
    update,
)

from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, Project
from db.models.types import table
from db.queue import due
from db.sql.rows import AnyRow
from domain.enums import RunStatus
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_flows = table(Flow)
_flow = _flows.c
_projects = table(Project)
_project = _projects.c

_BATCH = 1_000
"""Runs that one transaction moves into a line, or out of one."""
_MAX_QUEUES_PER_STATEMENT = 400
"""Lines looked at in one statement; SQLite takes 500 SELECTs in a UNION."""
LIMITED: ColumnElement[bool] = or_(
    exists().where(_flow.id == _run.flow_id, _flow.max_concurrent_runs.is_not(None)).correlate(_runs),
    exists().where(_project.id == _run.project_id, _project.max_concurrent_runs.is_not(None)).correlate(_runs),
)
"""Whether the run has to ask here."""

_these_projects: BindParameter[Any] = bindparam("project_ids", expanding=True)
_LIMITS = union_all(
    select(_project.id.label("id"), _project.id.label("project_id"), _project.max_concurrent_runs.label("most")).where(
        _project.id.in_(_these_projects), _project.max_concurrent_runs.is_not(None)
    ),
    select(_flow.id, _flow.project_id, _flow.max_concurrent_runs).where(
        _flow.project_id.in_(_these_projects), _flow.max_concurrent_runs.is_not(None)
    ),
)
_RUNNING = (
    select(_run.project_id, _run.flow_id, func.count().label("number"))
    .where(_run.project_id.in_(_these_projects), _run.status == RunStatus.RUNNING)
    .group_by(_run.project_id, _run.flow_id)
)


def _unindexed(column: ColumnElement[UUID]) -> ColumnElement[UUID]:
    """`column`, past the indexes on it: they hold every run there ever was, those of due and held runs a few."""
    return func.coalesce(column, column)


# Others of those that were refused; ones that somebody else has in hand are not waited for.
_DUE_WITHOUT_SLOT = due.select_due(
    [_run.id],
    _run.id.not_in(bindparam("but_not", expanding=True)),
    _run.status.in_([RunStatus.QUEUED, RunStatus.PAUSED]),
    or_(
        _unindexed(_run.flow_id).in_(bindparam("full", expanding=True)),
        _unindexed(_run.project_id).in_(bindparam("full", expanding=True)),
    ),
    limit="at_most",
)
_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))
_RANDOM_BITS = 2**62 - 1


class _SlotAllocator:
    """The places of some projects and of their flows, locked until the end of the transaction."""

    def __init__(self, conn: Connection, project_ids: Collection[UUID]) -> None:
        lock(conn, project_ids)
        these = {"project_ids": list(project_ids)}
        rows = conn.execute(_LIMITS, these).all()
        self._left: dict[UUID, int] = {row.id: row.most for row in rows}
        self.flows_of: dict[UUID, list[UUID]] = {project_id: [] for project_id in project_ids}
        """Those that have a limit, by project."""
        for row in rows:
            if row.id != row.project_id:
                self.flows_of[row.project_id].append(row.id)
        for row in conn.execute(_RUNNING, these):
            self._use(row.project_id, row.number)
            self._use(row.flow_id, row.number)

    def left(self, scope: UUID, at_most: int) -> int:
        """Free places of a flow or project; never more than `at_most`."""
        return max(0, min(self._left.get(scope, at_most), at_most))

    def take(self, project_id: UUID, flow_id: UUID) -> bool:
        """Take a place for a run, if there is one."""
        if not self.left(project_id, 1) or not self.left(flow_id, 1):
            return False
        self._use(project_id, 1)
        self._use(flow_id, 1)
        return True

    @property
    def full(self) -> list[UUID]:
        """The flows and projects without a free place."""
        return [scope for scope, left in self._left.items() if left <= 0]

    @property
    def limited_flows(self) -> list[UUID]:
        return [flow_id for flow_ids in self.flows_of.values() for flow_id in flow_ids]

    def has_limit(self, scope: UUID) -> bool:
        """Whether a flow or project has a limit."""
        return scope in self._left

    def _use(self, scope: UUID, number: int) -> None:
        if scope in self._left:
            self._left[scope] -= number


def lock(conn: Connection, project_ids: Collection[UUID]) -> None:
    """Let nobody else give away places of these projects until the transaction under way ends."""
    if conn.dialect.name == "sqlite":
        return
    for project_id in sorted(project_ids):  # always in one order, or two would lock each other out
        # The random end of the ID; two projects that had it in common would only wait for each other.
        conn.execute(_LOCK, {"key": project_id.int & _RANDOM_BITS})


def admit(uow: UnitOfWork, rows: Sequence[AnyRow]) -> list[UUID]:
    """Of runs that are due, and locked, those for which there is a place; the others are put in their queues.

    With them go other due runs of the same full flows and projects, so that the next claim need not pass them.
    """
    asking = [row for row in rows if row.limited and row.status != RunStatus.RUNNING]
    if not asking:
        return [row.id for row in rows]
    rooms = _SlotAllocator(uow.conn, {row.project_id for row in asking})
    refused = {row.id: row for row in asking if not rooms.take(row.project_id, row.flow_id)}
    admitted = [row.id for row in rows if row.id not in refused]
    if refused:
        alike = uow.conn.execute(
            _DUE_WITHOUT_SLOT, {"now": clock.now(), "full": rooms.full, "but_not": admitted, "at_most": _BATCH}
        ).scalars()
        _move_to_wait_queue(uow, {*refused, *alike}, rooms)
        for project_id in {row.project_id for row in refused.values()}:
            if rooms.has_limit(project_id):
                # Its place was meant for a run whose flow is full: somebody else may have it.
                uow.release_slots(project_id, None, rooms.left(project_id, _BATCH))
    return admitted


def try_resume(uow: UnitOfWork, run_id: UUID, project_id: UUID, flow_id: UUID) -> bool:
    """Whether there is a place for a paused run that is to go on, and is locked; if not, it is put in its line."""
    rooms = _SlotAllocator(uow.conn, {project_id})
    if rooms.take(project_id, flow_id):
        return True
    uow.conn.execute(update(_runs).where(_run.id == run_id).values(due_at=clock.now()))
    _move_to_wait_queue(uow, [run_id], rooms)
    return False


def promote_waiting(uow: UnitOfWork) -> None:
    """Let the first of those who wait go on, for each place that became free in the unit of work under way."""
    if not uow.released_slots:
        return
    released, uow.released_slots = +uow.released_slots, Counter()
    if not released:
        return
    rooms = _SlotAllocator(uow.conn, {project_id for project_id, _ in released})
    for (project_id, flow_id), number in released.items():
        if flow_id is None or rooms.has_limit(project_id):
            _promote(uow, rooms, project_id, [project_id, *rooms.flows_of[project_id]], number)
        else:
            _promote(uow, rooms, project_id, [flow_id], number)


def _promote(uow: UnitOfWork, rooms: _SlotAllocator, project_id: UUID, queues: Sequence[UUID], number: int) -> None:
    """Make the first runs of those queues of a project that have room due again, `number` at the most."""
    number = rooms.left(project_id, min(number, _BATCH))
    waiting = [line for line in queues if rooms.left(line, 1)]
    if not number:
        return
    heads = [
        row
        for start in range(0, len(waiting), _MAX_QUEUES_PER_STATEMENT)
        for row in _first_waiting(uow.conn, waiting[start:], number)
    ]
    heads.sort(key=lambda row: (row.blocked_since, row.id))
    admissible = (row.id for row in heads if rooms.take(project_id, row.flow_id))
    _make_due(uow, _run.id.in_(list(islice(admissible, number))))


def limit_changed(uow: UnitOfWork, project_id: UUID, flow_id: UUID | None, limit: int | None) -> None:
    """Let runs go on for which a flow (None: the project), whose limit was changed, has places now; after `lock`."""
    if limit is None:
        while _make_due(uow, _run.blocked_by == (flow_id or project_id)):
            continue
    elif flow_id is not None:
        # Its runs may stand in the project's line, where they would keep others from going on.
        while run_ids := _lock_waiting(uow, _run.blocked_by == project_id, _unindexed(_run.flow_id) == flow_id):
            uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(blocked_by=flow_id))
    uow.release_slots(project_id, flow_id, _BATCH)


def wait_queues(conn: Connection) -> Sequence[tuple[UUID, UUID]]:
    """Who waits: for each line that is not empty its project, and the flow or project whose line it is."""
    of_flows = select(_flow.project_id, _flow.id).where(exists().where(_run.blocked_by == _flow.id))
    of_projects = select(_project.id, _project.id).where(exists().where(_run.blocked_by == _project.id))
    return [(row[0], row[1]) for row in conn.execute(union_all(of_flows, of_projects))]


def rescue_wait_queue(uow: UnitOfWork, project_id: UUID, line: UUID) -> None:
    """Let runs of a line go on for whom somebody forgot to make way."""
    rooms = _SlotAllocator(uow.conn, {project_id})
    if not rooms.has_limit(line):
        _make_due(uow, _run.blocked_by == line)
    _promote(uow, rooms, project_id, [project_id, *rooms.flows_of[project_id]], _BATCH)


def _first_waiting(conn: Connection, queues: Sequence[UUID], number: int) -> Sequence[AnyRow]:
    """The first runs of each line."""
    parts = []
    for line in queues[:_MAX_QUEUES_PER_STATEMENT]:
        of_line = select(_run.id, _run.flow_id, _run.blocked_since).where(_run.blocked_by == line)
        part = of_line.order_by(_run.blocked_since).limit(number).subquery()
        parts.append(select(part))
    return conn.execute(union_all(*parts)).all()


def _move_to_wait_queue(uow: UnitOfWork, run_ids: Collection[UUID], rooms: _SlotAllocator) -> None:
    line = case((_run.flow_id.in_(rooms.limited_flows), _run.flow_id), else_=_run.project_id)
    blocked = {"blocked_since": _run.due_at, "blocked_by": line, "due_at": None}
    uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(blocked))


def _make_due(uow: UnitOfWork, which: ColumnElement[bool]) -> bool:
    """Make held runs due again, where they stood; whether there were any."""
    run_ids = _lock_waiting(uow, which)
    if run_ids:
        again = {"due_at": _run.blocked_since, "blocked_since": None, "blocked_by": None}
        uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(again))
        uow.publish_after_commit(pubsub.RUNS_DUE)
    return bool(run_ids)


def _lock_waiting(uow: UnitOfWork, *which: ColumnElement[bool]) -> Sequence[UUID]:
    """Some of those runs, locked, that are in a line."""
    # Never wait for a run: whoever has it may be waiting for the lock of the places.
    query = select(_run.id).where(*which, _run.blocked_by.is_not(None)).limit(_BATCH)
    return uow.conn.execute(query.with_for_update(key_share=True, skip_locked=True)).scalars().all()
