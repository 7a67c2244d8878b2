"""Bulk operations: a set of runs is pinned, and then dealt with in chunks.

The runs that are meant are written down as outcomes, in the order of their IDs, before anything is done. Then each
chunk of them is one transaction: what is done to the runs, their outcomes, the operation's counts and how far it has
come commit together. A chunk begins by showing the token of the process that works on the operation (`_hold`): of two
that believe they do, one finds another token there and changes nothing. Whoever goes on after a crash goes on from the
last commit. So each run is dealt with exactly once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from db.bulk.actions import archive, retry
from db.bulk.actions import cancel as cancel_action
from db.bulk.chunks import IN_CHUNK, OUTCOMES, PENDING, Chunk, record_missing, record_outcomes
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import BulkOperation, FlowRun, Project
from db.models.types import table
from db.runs import retries, transitions
from db.runs.filter import matches
from db.sql.any_of import rows_of
from db.sql.rows import AnyRow, group_by
from domain import clock, ids
from domain.bulk import ELIGIBLE, ENDED, BulkKind, BulkReason, BulkResult, BulkStatus
from domain.enums import RetryStrategy
from domain.run_filter import RunFilter

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c
_runs = table(FlowRun)
_run = _runs.c
_projects = table(Project)

CHUNK = 1_000
"""Runs that one transaction deals with."""
_FIRST = UUID(int=0)
_EVERYWHERE = UUID(int=0)
"""The project of events of operations over all projects: nobody has it, so only the operator's key sees them."""
_COUNTS = ("matched", "processed", "succeeded", "skipped", "failed")


class OperationLostError(Exception):
    """Another process has the operation, or it has ended: nothing more may be done for it here."""


class PipelineConflictError(Exception):
    """A chunk cannot be dealt with beside the one before it; nothing was done, and it comes again by itself."""


@dataclass(frozen=True, slots=True)
class BulkLease:
    """A process's right to work on an operation, until another claims it."""

    operation_id: UUID
    token: UUID


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs are meant: those of a filter, or those with a result in an earlier operation."""

    wanted: RunFilter | None
    source_id: UUID | None
    source_result: BulkResult | None
    excluded: Sequence[UUID]
    upper: UUID | None
    """The newest run there was when the operation began; None: of a selection that can hold no newer one."""
    now: datetime
    """When the operation began."""


@dataclass(frozen=True, slots=True)
class _Action:
    """What a kind of operation is."""

    refusal: Callable[[RetryStrategy | None], ColumnElement[str | None]]
    """Why it does nothing to a row of `source`; null when it does. The parameter `source_id` is the operation's."""
    apply: Callable[[UnitOfWork, Chunk, Sequence[AnyRow]], None]
    """Do it to runs that it accepts, of which the rows have `columns`, and settle their outcomes."""
    is_apart: Callable[[Connection, Chunk, Sequence[AnyRow]], bool]
    """Whether that would wait for nothing that the chunk before may hold, nor keep that from anything."""
    columns: Sequence[ColumnElement[Any]]
    source: FromClause = _runs


_KINDS = {
    BulkKind.CANCEL: _Action(
        cancel_action.refusal, cancel_action.apply, cancel_action.can_pipeline, transitions.COLUMNS_FOR_END
    ),
    BulkKind.RETRY: _Action(
        retry.refusal, retry.apply, retry.can_pipeline, (_run.id, _run.project_id), retries.WITH_FLOWS
    ),
    BulkKind.ARCHIVE: _Action(archive.archive_refusal, archive.archive, archive.can_pipeline, (_run.id,)),
    BulkKind.UNARCHIVE: _Action(archive.unarchive_refusal, archive.unarchive, archive.can_pipeline, (_run.id,)),
}

_OF_TOKEN = (
    _operation.id == bindparam("of_operation"),
    _operation.lease_token == bindparam("token"),
    _operation.status == bindparam("was"),
)
_HOLD = update(_operations).where(*_OF_TOKEN).values(lease_until=bindparam("until")).returning(*_operation)
_LOOK = select(_operations).where(
    _operation.id == bindparam("of_operation"),
    _operation.lease_token == bindparam("token"),
    _operation.status == BulkStatus.RUNNING,
)

# Ordered and bounded by the whole primary key, and the operation picked out afterwards: a planner that has no
# statistics of an operation yet would rather sort all that is left of it.
_next_ones = (
    select(_outcome.operation_id, _outcome.run_id, PENDING.label("pending"))
    .where(
        tuple_(_outcome.operation_id, _outcome.run_id)
        > tuple_(bindparam("of_operation", type_=_outcome.run_id.type), bindparam("after", type_=_outcome.run_id.type))
    )
    .order_by(_outcome.operation_id, _outcome.run_id)
    .limit(bindparam("size", type_=Integer))
    .subquery("next")
)
_BOUNDS = (
    select(_next_ones.c.run_id, func.count().over(), func.count().filter(_next_ones.c.pending).over())
    .where(_next_ones.c.operation_id == bindparam("of_operation"))
    .order_by(_next_ones.c.run_id.desc())
    .limit(1)
)
_succeeded = _outcome.result == BulkResult.SUCCEEDED
_COUNT = select(
    func.count(),
    func.count().filter(_succeeded),
    func.count().filter(_outcome.result == BulkResult.SKIPPED),
    func.count().filter(_outcome.result == BulkResult.FAILED),
    func.count().filter(_succeeded, _outcome.planned_reason != ELIGIBLE),
    func.count().filter(~_succeeded, _outcome.planned_reason == ELIGIBLE),
).where(IN_CHUNK)
_counted = ("processed", "succeeded", "skipped", "failed", "became_eligible", "became_ineligible")
_ADD = (
    update(_operations)
    .where(_operation.id == bindparam("of_operation"))
    .values({_operation[name]: _operation[name] + bindparam(f"more_{name}", type_=Integer) for name in _counted})
    .values({_operation.done_through: bindparam("through")})
)


# The set


def newest_run(conn: Connection, project_ids: Sequence[UUID] | None) -> UUID:
    """The newest run of these projects (None: of all); all that come later have greater IDs."""
    query = select(_run.id)
    if project_ids is not None:
        query = query.where(_run.project_id.in_(project_ids))
    return conn.execute(query.order_by(_run.id.desc()).limit(1)).scalar() or _FIRST


def selected_after(conn: Connection, selection: Selection, after: UUID | None, limit: int) -> Sequence[UUID]:
    """The next runs that are meant, by their IDs, after the run `after`."""
    if selection.wanted is not None:
        key: ColumnElement[UUID] = _run.id
        query = select(key).where(matches(selection.wanted, conn.dialect.name, selection.now))
    else:
        key = _outcome.run_id
        query = select(key).where(
            _outcome.operation_id == selection.source_id, _outcome.result == selection.source_result
        )
    query = query.where(key > (after or _FIRST))
    if selection.upper is not None:
        query = query.where(key <= selection.upper)
    if selection.excluded:
        query = query.where(key.not_in(selection.excluded))
    return conn.execute(query.order_by(key).limit(limit)).scalars().all()


def prepare(uow: UnitOfWork, values: Mapping[str, Any], lease: timedelta) -> BulkLease:
    """Insert a PREPARING operation, whose runs are pinned next."""
    operation_id, token = ids.new_uuid(), ids.new_uuid()
    begun = {"id": operation_id, "status": BulkStatus.PREPARING, "created_at": clock.now()}
    uow.conn.execute(insert(_operations), {**begun, **values, "lease_token": token, "lease_until": clock.now() + lease})
    return BulkLease(operation_id, token)


def pin(uow: UnitOfWork, held: BulkLease, run_ids: Sequence[UUID], lease: timedelta, *, foretell: bool) -> None:
    """Add runs to the set; their IDs follow on those added before.

    Raises:
        OperationLostError
    """
    operation = _lock_lease(uow, held, BulkStatus.PREPARING, lease)
    same = (literal(held.operation_id, _operation.id.type), literal(BulkResult.PENDING.value))
    pinned = select(*same, rows_of(run_ids, uow.conn.dialect.name))
    uow.conn.execute(insert(OUTCOMES).from_select(["operation_id", "result", "run_id"], pinned))
    of_set = _operation.id == held.operation_id
    uow.conn.execute(update(_operations).where(of_set).values(matched=_operation.matched + len(run_ids)))
    if foretell:
        first = UUID(int=run_ids[0].int - 1)
        chunk = Chunk(operation, first, run_ids[-1], len(run_ids), len(run_ids), clock.now())
        foretelling = update(OUTCOMES).where(IN_CHUNK).values(planned_reason=_planned_reasons(operation))
        uow.conn.execute(foretelling, {**chunk.named, "source_id": operation.source_id})


def plan(uow: UnitOfWork, held: BulkLease, lifetime: timedelta) -> None:
    """PREPARING → PLANNED: the set is complete, and nothing is done yet.

    Raises:
        OperationLostError
    """
    expiry = {"expires_at": clock.now() + lifetime, "lease_token": None, "lease_until": None}
    _change(uow, held, BulkStatus.PREPARING, {"status": BulkStatus.PLANNED, **expiry})


def start(uow: UnitOfWork, held: BulkLease, lease: timedelta) -> None:
    """PREPARING → RUNNING: the set is complete. An operation over no run is COMPLETED at once.

    Raises:
        OperationLostError
    """
    _lock_lease(uow, held, BulkStatus.PREPARING, lease)
    now = clock.now()
    _change(uow, held, BulkStatus.PREPARING, {"status": BulkStatus.RUNNING, "started_at": now})
    _begun(uow, held)


def execute_plan(uow: UnitOfWork, operation_id: UUID, values: Mapping[str, Any], lease: timedelta) -> BulkLease | None:
    """PLANNED → RUNNING, with further columns; None when it is not planned any more, or its time is over."""
    now = clock.now()
    held = BulkLease(operation_id, ids.new_uuid())
    planned = (_operation.status == BulkStatus.PLANNED, _operation.expires_at > now)
    running = {"status": BulkStatus.RUNNING, "started_at": now, "lease_token": held.token, "lease_until": now + lease}
    done = update(_operations).where(_operation.id == operation_id, *planned).values({**values, **running})
    if uow.conn.execute(done).rowcount == 0:
        return None
    _begun(uow, held)
    return held


def _begun(uow: UnitOfWork, held: BulkLease) -> None:
    empty = uow.conn.execute(select(_operation.matched).where(_operation.id == held.operation_id)).scalar_one() == 0
    if empty:
        _end(uow, held.operation_id, BulkStatus.COMPLETED)
    record_progress(uow, held.operation_id)


# Who works on it


def any_waits(conn: Connection) -> bool:
    """Whether there is an operation to claim."""
    return conn.execute(_waiting(clock.now())).first() is not None


def claim(uow: UnitOfWork, lease: timedelta) -> BulkLease | None:
    """Take the oldest running operation that nobody works on, for as long as `lease`."""
    now = clock.now()
    operation_id = uow.conn.execute(_waiting(now).with_for_update(skip_locked=True)).scalar()
    if operation_id is None:
        return None
    held = BulkLease(operation_id, ids.new_uuid())
    taken = {"lease_token": held.token, "lease_until": now + lease}
    uow.conn.execute(update(_operations).where(_operation.id == operation_id).values(taken))
    return held


def _waiting(now: datetime) -> Select[Any]:
    """The oldest operation that somebody has to go on with."""
    free = or_(_operation.lease_until.is_(None), _operation.lease_until <= now)
    running = select(_operation.id).where(_operation.status == BulkStatus.RUNNING, free)
    return running.order_by(_operation.id).limit(1)


def release(uow: UnitOfWork, held: BulkLease) -> None:
    """Let another process go on with the operation at once."""
    of_token = (_operation.id == held.operation_id, _operation.lease_token == held.token)
    uow.conn.execute(update(_operations).where(*of_token).values(lease_until=None))
    uow.publish_after_commit(pubsub.BULK_DUE)


def release_leases(uow: UnitOfWork) -> None:
    """Let every operation be gone on with at once: for a process that knows that no other worker is alive."""
    uow.conn.execute(update(_operations).where(_operation.status == BulkStatus.RUNNING).values(lease_until=None))


def expire_stale_plans(uow: UnitOfWork, now: datetime, plans_before: datetime, limit: int) -> None:
    """Fail operations whose preparation was cut short, and forget plans that expired before `plans_before`.

    Forgets up to `limit` runs of plans; what is left over is forgotten next time.
    """
    _fail_lost(uow, now)
    old = (_operation.status == BulkStatus.PLANNED, _operation.expires_at <= plans_before)
    plan_id = uow.conn.execute(select(_operation.id).where(*old).order_by(_operation.id).limit(1)).scalar()
    if plan_id is None:
        return
    _purge(uow, plan_id, limit)


def _fail_lost(uow: UnitOfWork, now: datetime, *among_these: ColumnElement[bool]) -> None:
    """End preparations that nobody goes on with; their idempotency keys may be used again, for nothing was done."""
    lost = (_operation.status == BulkStatus.PREPARING, _operation.lease_until <= now, *among_these)
    failed = {"status": BulkStatus.FAILED, "finished_at": now, "lease_token": None, "idempotency_key": None}
    for operation_id in uow.conn.execute(
        update(_operations).where(*lost).values(failed).returning(_operation.id)
    ).scalars():
        record_progress(uow, operation_id)


def find_by_idempotency_key(uow: UnitOfWork, project_id: UUID | None, idempotency_key: str) -> AnyRow | None:
    """The operation that was asked for under this key: `id`, `status` and `request_hash`."""
    of_project = _operation.project_id == project_id if project_id is not None else _operation.project_id.is_(None)
    same = (of_project, _operation.idempotency_key == idempotency_key)
    _fail_lost(uow, clock.now(), *same)
    return uow.conn.execute(select(_operation.id, _operation.status, _operation.request_hash).where(*same)).first()


def purge(uow: UnitOfWork, before: datetime, limit: int) -> bool:
    """Forget an operation that ended before `before`, or up to `limit` of its outcomes; whether there was one.

    Not one of which the outcomes are being read for another; nor do two forget the same at once.
    """
    preparing = _operations.alias("preparing")
    is_read = exists().where(preparing.c.source_id == _operation.id, preparing.c.status == BulkStatus.PREPARING)
    old = (_operation.status.in_(sorted(ENDED)), _operation.finished_at < before, ~is_read)
    query = select(_operation.id).where(*old).order_by(_operation.id).limit(1)
    operation_id = uow.conn.execute(query.with_for_update(skip_locked=True)).scalar()
    if operation_id is None:
        return False
    _purge(uow, operation_id, limit)
    return True


def _purge(uow: UnitOfWork, operation_id: UUID, limit: int) -> None:
    """Delete outcomes of an operation, or what is left of it."""
    of_operation = _outcome.operation_id == operation_id
    some = select(_outcome.run_id).where(of_operation).order_by(_outcome.run_id).limit(limit)
    if uow.conn.execute(delete(OUTCOMES).where(of_operation, _outcome.run_id.in_(some))).rowcount < limit:
        uow.conn.execute(delete(_operations).where(_operation.id == operation_id))


def cancel(uow: UnitOfWork, operation_id: UUID) -> bool:
    """End an operation that is planned or under way: what was done stays done. False when it had ended."""
    if not _end(uow, operation_id, BulkStatus.CANCELLED):
        return False
    record_progress(uow, operation_id)
    return True


# Chunks


def process_chunk(
    uow: UnitOfWork, held: BulkLease, size: int, lease: timedelta, begun: Callable[[UUID], None] | None = None
) -> bool:
    """Deal with the next `size` runs; whether the operation has ended.

    `begun` is told where the chunk ends, if there may be another one behind it: that may go `ahead` from then on.

    Raises:
        OperationLostError
    """
    chunk = _next_chunk(uow, held, size, lease)
    if chunk is not None:
        if begun is not None and chunk.length == size:
            begun(chunk.through)
        accepted = _accepted(uow, chunk)
        if accepted:
            _kind(chunk).apply(uow, chunk, accepted)
        _count(uow, chunk)
    return _advance(uow, held, chunk)


def process_next_chunk(uow: UnitOfWork, held: BulkLease, after: UUID, size: int, lease: timedelta) -> bool:
    """`step` for the chunk behind the run `after`, beside the one that ends there, and committed after that.

    All is done and written before it waits for the other's end, and nothing of it counts if that was not reached.

    Raises:
        OperationLostError, NotAbreastError
    """
    operation = uow.conn.execute(_LOOK, {"of_operation": held.operation_id, "token": held.token}).first()
    if operation is None:
        raise OperationLostError
    chunk = _chunk(uow.conn, operation, after, size)
    if chunk is None:
        return False
    accepted = _accepted(uow, chunk)
    if not _kind(chunk).is_apart(uow.conn, chunk, accepted):
        raise PipelineConflictError
    if accepted:
        _kind(chunk).apply(uow, chunk, accepted)
        uow.flush()
    if _lock_lease(uow, held, BulkStatus.RUNNING, lease).done_through != after:
        raise PipelineConflictError
    _count(uow, chunk)
    return _advance(uow, held, chunk)


def fail_next(uow: UnitOfWork, held: BulkLease, lease: timedelta) -> bool:
    """Note that the next run cannot be dealt with, for no reason of its own; whether the operation has ended.

    Raises:
        OperationLostError
    """
    chunk = _next_chunk(uow, held, 1, lease)
    if chunk is not None:
        record_outcomes(uow, chunk, BulkResult.FAILED, BulkReason.INTERNAL_ERROR)
        _count(uow, chunk)
    return _advance(uow, held, chunk)


def _next_chunk(uow: UnitOfWork, held: BulkLease, size: int, lease: timedelta) -> Chunk | None:
    operation = _lock_lease(uow, held, BulkStatus.RUNNING, lease)
    return _chunk(uow.conn, operation, operation.done_through or _FIRST, size)


def _chunk(conn: Connection, operation: AnyRow, after: UUID, size: int) -> Chunk | None:
    bounds = conn.execute(_BOUNDS, {"of_operation": operation.id, "after": after, "size": size}).first()
    if bounds is None:
        return None
    through, length, pending = bounds
    return Chunk(operation, after, through, length, pending, clock.now())


def _kind(chunk: Chunk) -> _Action:
    return _KINDS[BulkKind(chunk.operation.kind)]


def _lock_lease(uow: UnitOfWork, held: BulkLease, status: BulkStatus, lease: timedelta) -> AnyRow:
    """The operation, which nobody else writes to until the end of the transaction.

    Raises:
        OperationLostError
    """
    shown = {"of_operation": held.operation_id, "token": held.token, "was": status, "until": clock.now() + lease}
    row = uow.conn.execute(_HOLD, shown).first()
    if row is None:
        raise OperationLostError
    return row


def _accepted(uow: UnitOfWork, chunk: Chunk) -> Sequence[AnyRow]:
    """The runs of a chunk that something is to be done to, locked; what becomes of the others is settled."""
    operation = chunk.operation
    judging = _judging(BulkKind(operation.kind), operation.strategy and RetryStrategy(operation.strategy))
    judged = uow.conn.execute(judging, {**chunk.named, "source_id": operation.source_id}).all()
    by_refusal = group_by(judged, "refusal")
    accepted = by_refusal.get(None, ())
    for reason, rows in by_refusal.items():
        if reason is not None:
            record_outcomes(uow, chunk, BulkResult.SKIPPED, BulkReason(reason), [row.id for row in rows])
    if len(judged) < chunk.pending:
        record_missing(uow, chunk)
    return accepted


@cache
def _judging(kind: BulkKind, strategy: RetryStrategy | None) -> Select[Any]:
    """The runs of a chunk that are to be dealt with, locked: each with why not, or null.

    Locked in one order, or two that overlap would lock up. What is judged is the row as it is locked.
    """
    what = _KINDS[kind]
    refusal = what.refusal(strategy).label("refusal")
    runs = select(*what.columns, refusal).select_from(OUTCOMES.join(what.source, _run.id == _outcome.run_id))
    return runs.where(IN_CHUNK, PENDING).order_by(_run.id).with_for_update(key_share=True, of=_runs)


def _planned_reasons(operation: AnyRow) -> ColumnElement[str]:
    """Of an outcome: ELIGIBLE, or the reason why nothing would be done to its run."""
    kind = _KINDS[BulkKind(operation.kind)]
    refusal = kind.refusal(operation.strategy and RetryStrategy(operation.strategy))
    # Looked up row by row: SQLite would read a joined query anew for each row.
    judged = select(func.coalesce(refusal, ELIGIBLE)).select_from(kind.source)
    judged = judged.where(_run.id == _outcome.run_id).correlate(OUTCOMES)
    return func.coalesce(judged.scalar_subquery(), BulkReason.RUN_NOT_FOUND.value)


def _count(uow: UnitOfWork, chunk: Chunk) -> None:
    """Add to the operation's counts what became of a chunk."""
    number, done, skipped, failed, became, lost = uow.conn.execute(_COUNT, chunk.named).one()
    early = number - chunk.pending  # they succeeded, and were counted then
    added = {
        "processed": chunk.pending,
        "succeeded": done - early,
        "skipped": skipped,
        "failed": failed,
        "became_eligible": became,
        "became_ineligible": lost,
    }
    more = {f"more_{name}": number for name, number in added.items()}
    uow.conn.execute(_ADD, {"of_operation": chunk.operation.id, "through": chunk.through, **more})


def _advance(uow: UnitOfWork, held: BulkLease, chunk: Chunk | None) -> bool:
    """Tell how far the operation has come; whether that is its end."""
    more = False
    if chunk is not None:
        later = (_outcome.operation_id == held.operation_id, _outcome.run_id > chunk.through)
        more = uow.conn.execute(select(_outcome.run_id).where(*later).limit(1)).first() is not None
    if not more:
        _end(uow, held.operation_id, BulkStatus.COMPLETED)
    record_progress(uow, held.operation_id)
    return not more


def _end(uow: UnitOfWork, operation_id: UUID, status: BulkStatus) -> bool:
    live = (_operation.id == operation_id, _operation.status.not_in(sorted(ENDED)))
    ended = {"status": status, "finished_at": clock.now(), "lease_token": None, "lease_until": None}
    return uow.conn.execute(update(_operations).where(*live).values(ended)).rowcount == 1


def _change(uow: UnitOfWork, held: BulkLease, status: BulkStatus, values: Mapping[str, Any]) -> None:
    shown = {"of_operation": held.operation_id, "token": held.token, "was": status}
    if uow.conn.execute(update(_operations).where(*_OF_TOKEN).values(values), shown).rowcount == 0:
        raise OperationLostError


def record_progress(uow: UnitOfWork, operation_id: UUID) -> None:
    """Write how an operation stands into the log."""
    columns = (_operation.project_id, _operation.status, *(_operation[name] for name in _COUNTS))
    row = uow.conn.execute(select(*columns).where(_operation.id == operation_id)).one()
    data = {"status": row.status, **{name: getattr(row, name) for name in _COUNTS}}
    event = {
        "project_id": row.project_id or _EVERYWHERE,
        "operation_id": operation_id,
        "kind": event_log.BULK_PROGRESS,
        "data": orjson.dumps(data).decode(),
        "at": clock.now(),
    }
    event_log.append(uow, [event])
    uow.publish_after_commit(pubsub.operation_changed(operation_id))
    uow.publish_after_commit(pubsub.BULK_DUE)


# Bounds


def lock_project(uow: UnitOfWork, project_id: UUID) -> None:
    """Let nobody else begin a bulk operation in the project until the end of the transaction."""
    query = select(_projects.c.id).where(_projects.c.id == project_id)
    uow.conn.execute(query.with_for_update(key_share=True))


def open_counts(conn: Connection, project_id: UUID | None) -> tuple[int, int]:
    """How many operations of a project are under way, and how many plans wait to be carried out."""
    plans = and_(_operation.status == BulkStatus.PLANNED, _operation.expires_at > clock.now())
    # A preparation that nobody goes on with will fail.
    preparing = and_(_operation.status == BulkStatus.PREPARING, _operation.lease_until > clock.now())
    working = or_(_operation.status == BulkStatus.RUNNING, preparing)
    query = select(func.count().filter(working), func.count().filter(plans))
    of_project = _operation.project_id == project_id if project_id is not None else _operation.project_id.is_(None)
    under_way, planned = conn.execute(query.where(of_project, or_(working, plans))).one()
    return under_way, planned
