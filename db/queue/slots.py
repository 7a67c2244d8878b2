"""Concurrency limits of flows and projects: slots, and the queues of runs that wait for one.

A run takes a slot of its flow and of its project while it is RUNNING. A paused run takes none and needs one again when
it is resumed, so a parent that waits for its children never blocks them. RUNNING runs never wait for a slot, so every
slot is eventually released.

A claim of due runs allocates slots here. A run without a free slot leaves the queue of due runs for a wait queue: its
flow's, if the flow has a limit, or else its project's. `blocked_since` keeps the time at which it became due, so that
it returns to its position in the queue. The transaction that releases a slot promotes the first run of the wait queues
that have a free slot: the run is due again. Only a claim, and a response that resumes a run, take slots.

A hold of a flow or a project keeps runs from starting in the same way, whatever slots are free: runs that have not
started leave the queue of due runs for the queue of the hold. Runs that have started go on (`db.queue.holds`).

On PostgreSQL one advisory lock for each project makes this exact. A statement of its own takes it, before the statement
that counts: a statement sees what was committed when it began, so a single statement would count the state of before it
waited. The lock is the last that a transaction waits for (see `db.assembly`), so it cannot be part of a deadlock.
SQLite has one writer. Runs without limits take no lock and cost no statement.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol
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
from db.row_types import RunRow
from db.sql.any_of import any_of
from db.sql.rows import fetch_all
from domain.enums import RunStatus
from domain.time import clock

_runs = table(FlowRun)
_run = _runs.c
_flows = table(Flow)
_flow = _flows.c
_projects = table(Project)
_project = _projects.c

_BATCH = 1_000
"""Runs that one transaction moves into a wait queue, or out of one."""
_MAX_QUEUES_PER_STATEMENT = 400
"""Wait queues read by one statement; SQLite accepts 500 SELECTs in a UNION."""
_FLOW_LIMITED = or_(_flow.max_concurrent_runs.is_not(None), _flow.hold_id.is_not(None))
_PROJECT_LIMITED = or_(_project.max_concurrent_runs.is_not(None), _project.hold_id.is_not(None))
LIMITED: ColumnElement[bool] = or_(
    exists().where(_flow.id == _run.flow_id, _FLOW_LIMITED).correlate(_runs),
    exists().where(_project.id == _run.project_id, _PROJECT_LIMITED).correlate(_runs),
)
"""Condition: a concurrency limit or a hold applies to the run."""

_these_projects: BindParameter[Any] = bindparam("project_ids", expanding=True)
_LIMITS = union_all(
    select(
        _project.id.label("id"),
        _project.id.label("project_id"),
        _project.max_concurrent_runs.label("most"),
        _project.hold_id,
    ).where(_project.id.in_(_these_projects), _PROJECT_LIMITED),
    select(_flow.id, _flow.project_id, _flow.max_concurrent_runs, _flow.hold_id).where(
        _flow.project_id.in_(_these_projects), _FLOW_LIMITED
    ),
)
_RUNNING = (
    select(_run.project_id, _run.flow_id, func.count().label("number"))
    .where(_run.project_id.in_(_these_projects), _run.status == RunStatus.RUNNING)
    .group_by(_run.project_id, _run.flow_id)
)


_WAITING = (_run.id, _run.project_id, _run.flow_id)
"""What the queues need of a run."""


def _unindexed(column: ColumnElement[UUID]) -> ColumnElement[UUID]:
    """Returns `column` in a form for which no index is used: its indexes hold every run, while few runs are due or
    waiting."""
    return func.coalesce(column, column)


# Other due runs of full flows and projects. Rows that another transaction has locked are skipped.
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
# Other due runs of flows and projects that are held.
_DUE_HELD = due.select_due(
    _WAITING,
    _run.id.not_in(bindparam("but_not", expanding=True)),
    _run.status == RunStatus.QUEUED,
    or_(
        _unindexed(_run.flow_id).in_(bindparam("held", expanding=True)),
        _unindexed(_run.project_id).in_(bindparam("held", expanding=True)),
    ),
    limit="at_most",
)
_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))
_RANDOM_BITS = 2**62 - 1


class _OfFlow(Protocol):
    """Columns of a run."""

    id: UUID
    project_id: UUID
    flow_id: UUID


class DueRun(_OfFlow, Protocol):
    """The columns of a due run that the allocation of slots needs."""

    status: str
    limited: bool
    """True if a concurrency limit or a hold applies to the run."""


class _SlotAllocator:
    """The slots of some projects and of their flows, locked until the end of the transaction."""

    def __init__(self, conn: Connection, project_ids: Collection[UUID]) -> None:
        lock(conn, project_ids)
        these = {"project_ids": list(project_ids)}
        rows = conn.execute(_LIMITS, these).all()
        self._left: dict[UUID, int] = {row.id: row.most for row in rows if row.most is not None}
        self.holds: dict[UUID, UUID] = {row.id: row.hold_id for row in rows if row.hold_id is not None}
        """The holds of flows and projects."""
        self.flows_of: dict[UUID, list[UUID]] = {project_id: [] for project_id in project_ids}
        """Flows with a limit, by project."""
        for row in rows:
            if row.id != row.project_id and row.id in self._left:
                self.flows_of[row.project_id].append(row.id)
        for row in conn.execute(_RUNNING, these):
            self._use(row.project_id, row.number)
            self._use(row.flow_id, row.number)

    def left(self, scope: UUID, at_most: int) -> int:
        """Returns the number of free slots of a flow or project, at most `at_most`."""
        return max(0, min(self._left.get(scope, at_most), at_most))

    def take(self, project_id: UUID, flow_id: UUID) -> bool:
        """Takes a slot for a run. Returns False if none is free."""
        if not self.left(project_id, 1) or not self.left(flow_id, 1):
            return False
        self._use(project_id, 1)
        self._use(flow_id, 1)
        return True

    def hold_of(self, run: "_OfFlow | RunRow") -> UUID | None:
        """Returns the hold that keeps a run of a flow from starting: its flow's, or else its project's."""
        return self.holds.get(run.flow_id) or self.holds.get(run.project_id)

    @property
    def full(self) -> list[UUID]:
        """Returns the flows and projects without a free slot."""
        return [scope for scope, left in self._left.items() if left <= 0]

    @property
    def limited_flows(self) -> list[UUID]:
        return [flow_id for flow_ids in self.flows_of.values() for flow_id in flow_ids]

    def has_limit(self, scope: UUID) -> bool:
        """Returns True if a flow or project has a limit."""
        return scope in self._left

    def _use(self, scope: UUID, number: int) -> None:
        if scope in self._left:
            self._left[scope] -= number


def lock(conn: Connection, project_ids: Collection[UUID]) -> None:
    """Locks the slots of these projects until the end of the transaction."""
    if conn.dialect.name == "sqlite":
        return
    for project_id in sorted(project_ids):  # All transactions use one order, so that they do not deadlock.
        # The key is the random end of the ID. Two projects with the same key would only wait for each other.
        conn.execute(_LOCK, {"key": project_id.int & _RANDOM_BITS})


def admit(uow: UnitOfWork, rows: Sequence[DueRun]) -> list[UUID]:
    """Returns the due runs among the locked `rows` that get a slot or need none.

    The others move to their wait queues, together with other due runs of the same full flows and projects, so that the
    next claim need not read them. So do runs that have not started, and that a hold keeps from it.
    """
    limited = [row for row in rows if row.limited and row.status != RunStatus.RUNNING]
    if not limited:
        return [row.id for row in rows]
    allocator = _SlotAllocator(uow.conn, {row.project_id for row in limited})
    held = {row.id: row for row in limited if _is_held(row, allocator)}
    refused = {row.id: row for row in limited if row.id not in held and not allocator.take(row.project_id, row.flow_id)}
    admitted = [row.id for row in rows if row.id not in refused and row.id not in held]
    if held:
        _move_to_holds(uow, held, admitted, allocator)
    if refused:
        alike = uow.conn.execute(
            _DUE_WITHOUT_SLOT, {"now": clock.now(), "full": allocator.full, "but_not": admitted, "at_most": _BATCH}
        ).scalars()
        _move_to_wait_queue(uow, {*refused, *alike}, allocator)
    for project_id in {row.project_id for row in (*refused.values(), *held.values())}:
        if allocator.has_limit(project_id):
            # The slot was released for a run whose flow is full or held, so another run may take it.
            uow.release_slots(project_id, None, allocator.left(project_id, _BATCH))
    for project_id, flow_id in {(row.project_id, row.flow_id) for row in held.values()}:
        if allocator.has_limit(flow_id):
            uow.release_slots(project_id, flow_id, allocator.left(flow_id, _BATCH))
    return admitted


def try_resume(uow: UnitOfWork, run_id: UUID, project_id: UUID, flow_id: UUID) -> bool:
    """Takes a slot for a locked paused run, so that it can be resumed.

    Returns False if none is free; the run is then in its wait queue.
    """
    allocator = _SlotAllocator(uow.conn, {project_id})
    if allocator.take(project_id, flow_id):
        return True
    uow.conn.execute(update(_runs).where(_run.id == run_id).values(due_at=clock.now()))
    _move_to_wait_queue(uow, [run_id], allocator)
    return False


def promote_waiting(uow: UnitOfWork) -> None:
    """Promotes the runs that have waited longest, one for each slot that this unit of work released."""
    if not uow.released_slots:
        return
    released, uow.released_slots = +uow.released_slots, Counter()
    if not released:
        return
    allocator = _SlotAllocator(uow.conn, {project_id for project_id, _ in released})
    for (project_id, flow_id), number in released.items():
        if flow_id is None or allocator.has_limit(project_id):
            _promote(uow, allocator, project_id, [project_id, *allocator.flows_of[project_id]], number)
        else:
            _promote(uow, allocator, project_id, [flow_id], number)


def _promote(uow: UnitOfWork, allocator: _SlotAllocator, project_id: UUID, queues: Sequence[UUID], number: int) -> None:
    """Makes the first runs of a project's wait queues with free slots due again, at most `number`."""
    number = allocator.left(project_id, min(number, _BATCH))
    waiting = [queue for queue in queues if allocator.left(queue, 1)]
    if not number:
        return
    heads = _heads(uow.conn, waiting, number)
    if any(_is_held(row, allocator) for row in heads):
        # They would take the places of others, and then not start.
        _move_waiting_to_holds(uow, waiting, allocator)
        heads = _heads(uow.conn, waiting, number)
    heads.sort(key=lambda row: (row.blocked_since, row.id))
    admissible = (row.id for row in heads if allocator.take(project_id, row.flow_id))
    _make_due(uow, _run.id.in_(list(islice(admissible, number))))


def release_held(uow: UnitOfWork, hold_id: UUID) -> bool:
    """Makes a thousand runs due again that a hold kept from starting. Returns False if there were none."""
    return _make_due(uow, _run.blocked_by == hold_id)


def _heads(conn: Connection, queues: Sequence[UUID], number: int) -> list[RunRow]:
    """Returns the first runs of each wait queue."""
    return [
        row
        for start in range(0, len(queues), _MAX_QUEUES_PER_STATEMENT)
        for row in _first_waiting(conn, queues[start:], number)
    ]


def _is_held(row: DueRun | RunRow, allocator: _SlotAllocator) -> bool:
    return row.status == RunStatus.QUEUED and allocator.hold_of(row) is not None


def limit_changed(uow: UnitOfWork, project_id: UUID, flow_id: UUID | None, limit: int | None) -> None:
    """Promotes runs after a change of the limit of a flow (None: of the project). Call `lock` before."""
    if limit is None:
        while _make_due(uow, _run.blocked_by == (flow_id or project_id)):
            continue
    elif flow_id is not None:
        # Runs of the flow may be in the project's wait queue, where they would block other runs.
        while run_ids := _lock_waiting(uow, _run.blocked_by == project_id, _unindexed(_run.flow_id) == flow_id):
            uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(blocked_by=flow_id))
    uow.release_slots(project_id, flow_id, _BATCH)


def in_use(conn: Connection, project_ids: Collection[UUID]) -> Counter[UUID]:
    """Returns the number of slots in use, by flow and by project."""
    used: Counter[UUID] = Counter()
    for row in conn.execute(_RUNNING, {"project_ids": list(project_ids)}):
        used[row.project_id] += row.number
        used[row.flow_id] += row.number
    return used


def wait_queues(conn: Connection) -> Sequence[tuple[UUID, UUID]]:
    """Returns the wait queues that are not empty, each as its project and the flow or project that it belongs to."""
    of_flows = select(_flow.project_id, _flow.id).where(exists().where(_run.blocked_by == _flow.id))
    of_projects = select(_project.id, _project.id).where(exists().where(_run.blocked_by == _project.id))
    return [(row[0], row[1]) for row in conn.execute(union_all(of_flows, of_projects))]


def rescue_wait_queue(uow: UnitOfWork, project_id: UUID, queue: UUID) -> None:
    """Promotes runs of a wait queue although no transaction released a slot for them."""
    allocator = _SlotAllocator(uow.conn, {project_id})
    if not allocator.has_limit(queue):
        _make_due(uow, _run.blocked_by == queue)
    _promote(uow, allocator, project_id, [project_id, *allocator.flows_of[project_id]], _BATCH)


def _first_waiting(conn: Connection, queues: Sequence[UUID], number: int) -> Sequence[RunRow]:
    """Returns the first runs of the first wait queues, as many as one statement reads."""
    parts = []
    for queue in queues[:_MAX_QUEUES_PER_STATEMENT]:
        in_queue = select(*_WAITING, _run.status, _run.blocked_since).where(_run.blocked_by == queue)
        part = in_queue.order_by(_run.blocked_since).limit(number).subquery()
        parts.append(select(part))
    return fetch_all(conn, union_all(*parts))


def _move_to_wait_queue(uow: UnitOfWork, run_ids: Collection[UUID], allocator: _SlotAllocator) -> None:
    queue = case((_run.flow_id.in_(allocator.limited_flows), _run.flow_id), else_=_run.project_id)
    blocked = {"blocked_since": _run.due_at, "blocked_by": queue, "due_at": None}
    uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(blocked))


def _move_to_holds(
    uow: UnitOfWork, held: Mapping[UUID, _OfFlow], admitted: Collection[UUID], allocator: _SlotAllocator
) -> None:
    """Moves due runs to the queues of their holds, together with other due runs of what is held."""
    others = {"now": clock.now(), "held": list(allocator.holds), "but_not": [*held, *admitted], "at_most": _BATCH}
    for hold_id, run_ids in _by_hold((*held.values(), *uow.conn.execute(_DUE_HELD, others)), allocator):
        blocked = {"blocked_since": _run.due_at, "blocked_by": hold_id, "due_at": None}
        uow.conn.execute(update(_runs).where(any_of(_run.id, run_ids)).values(blocked))


def _move_waiting_to_holds(uow: UnitOfWork, queues: Sequence[UUID], allocator: _SlotAllocator) -> None:
    """Moves runs that have not started from wait queues to the queues of their holds, with their positions."""
    held = list(allocator.holds)
    query = select(*_WAITING).where(
        _run.blocked_by.in_(queues),
        _run.status == RunStatus.QUEUED,
        or_(_unindexed(_run.flow_id).in_(held), _unindexed(_run.project_id).in_(held)),
    )
    rows = uow.conn.execute(query.limit(_BATCH).with_for_update(key_share=True, skip_locked=True)).all()
    for hold_id, run_ids in _by_hold(rows, allocator):
        uow.conn.execute(update(_runs).where(any_of(_run.id, run_ids)).values(blocked_by=hold_id))


def _by_hold(rows: Iterable[Any], allocator: _SlotAllocator) -> Iterable[tuple[UUID | None, list[UUID]]]:
    """Returns the IDs of held runs, by their holds."""
    found: defaultdict[UUID | None, list[UUID]] = defaultdict(list)
    for row in rows:
        found[allocator.hold_of(row)].append(row.id)
    return found.items()


def _make_due(uow: UnitOfWork, which: ColumnElement[bool]) -> bool:
    """Makes waiting runs due again, at their old position. Returns True if there were any."""
    run_ids = _lock_waiting(uow, which)
    if run_ids:
        due_again = {"due_at": _run.blocked_since, "blocked_since": None, "blocked_by": None}
        uow.conn.execute(update(_runs).where(_run.id.in_(run_ids)).values(due_again))
        uow.publish_after_commit(pubsub.RUNS_DUE)
    return bool(run_ids)


def _lock_waiting(uow: UnitOfWork, *which: ColumnElement[bool]) -> Sequence[UUID]:
    """Locks and returns some of the waiting runs that match."""
    # Never waits for a run: the transaction that has locked it may be waiting for the lock on slots.
    query = select(_run.id).where(*which, _run.blocked_by.is_not(None)).limit(_BATCH)
    return uow.conn.execute(query.with_for_update(key_share=True, skip_locked=True)).scalars().all()
