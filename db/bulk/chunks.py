"""Processes the runs of a running operation, chunk by chunk.

Each chunk is one transaction: the changes to the runs, their outcomes, the operation's counts and its position
(`done_through`) commit together. After a crash another process continues from the last commit, so each run is processed
exactly once.

A chunk locks the operation's row after the runs (see `db.runs.families`), and commits only if the position is unchanged
since the chunk began. So a chunk can be pipelined, in parallel with the one before it, and chunks commit in their
order. From its beginning, a chunk holds a lock that is named by its last run, and a pipelined chunk waits at its end
for that of the chunk before it: otherwise it would often reach the operation's row first, and its work would be lost.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Integer, bindparam, func, select, tuple_, update

from db.bulk import actions, leases, operations, outcomes
from db.bulk.leases import BulkLease
from db.bulk.outcomes import IN_CHUNK, OUTCOMES, PENDING, Chunk
from db.core.unit_of_work import UnitOfWork
from db.models import BulkOperation
from db.models.types import table
from db.row_types import BulkOperationRow, RunRow
from db.runs import families
from db.sql.rows import fetch_all, group_by
from domain.bulk import ELIGIBLE, BulkReason, BulkResult, BulkStatus
from domain.time import clock

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c

CHUNK_SIZE = 1_000
"""Runs in one chunk. Large enough to spread the cost of a commit, and small enough to lock runs for only some 100
ms."""
_NIL = UUID(int=0)
"""Smaller than the ID of any run."""
_LOCK_TURN = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))
_RANDOM_BITS = 2**62 - 1

# The query is ordered and bounded by the complete primary key, and filters the operation afterwards. Without statistics
# of a new operation, a planner would otherwise sort all its remaining rows.
_next_outcomes = (
    select(_outcome.operation_id, _outcome.run_id, PENDING.label("pending"))
    .where(
        tuple_(_outcome.operation_id, _outcome.run_id)
        > tuple_(bindparam("of_operation", type_=_outcome.run_id.type), bindparam("after", type_=_outcome.run_id.type))
    )
    .order_by(_outcome.operation_id, _outcome.run_id)
    .limit(bindparam("size", type_=Integer))
    .subquery("next")
)
_GET_BOUNDS = (
    select(_next_outcomes.c.run_id, func.count().over(), func.count().filter(_next_outcomes.c.pending).over())
    .where(_next_outcomes.c.operation_id == bindparam("of_operation"))
    .order_by(_next_outcomes.c.run_id.desc())
    .limit(1)
)
_GET_NEXT = (
    select(_outcome.run_id)
    .where(_outcome.operation_id == bindparam("of_operation"), _outcome.run_id > bindparam("after"))
    .limit(1)
)
_has_succeeded = _outcome.result == BulkResult.SUCCEEDED
_COUNT = select(
    func.count(),
    func.count().filter(_has_succeeded),
    func.count().filter(_outcome.result == BulkResult.SKIPPED),
    func.count().filter(_outcome.result == BulkResult.FAILED),
    func.count().filter(_has_succeeded, _outcome.planned_reason != ELIGIBLE),
    func.count().filter(~_has_succeeded, _outcome.planned_reason == ELIGIBLE),
).where(IN_CHUNK)
_counters = ("processed", "succeeded", "skipped", "failed", "became_eligible", "became_ineligible")
_ADD_COUNTS = (
    update(_operations)
    .where(_operation.id == bindparam("of_operation"))
    .values({_operation[name]: _operation[name] + bindparam(f"more_{name}", type_=Integer) for name in _counters})
    .values({_operation.done_through: bindparam("through")})
)


class PipelineConflictError(Exception):
    """The chunk cannot be pipelined with the previous one. Nothing was written; it must be processed on its own."""


class ChunkOutOfOrderError(PipelineConflictError):
    """The previous chunk did not commit. Nothing was written; the chunk can be pipelined again."""


def process_chunk(uow: UnitOfWork, lease: BulkLease, size: int, duration: timedelta) -> bool:
    """Processes the next `size` runs. Returns True if the operation has ended.

    Raises:
        OperationLostError, ChunkOutOfOrderError
    """
    operation = leases.get(uow.conn, lease, BulkStatus.RUNNING)
    chunk = _find_chunk(uow.conn, operation, operation.done_through or _NIL, size)
    if chunk is not None:
        _lock_turn(uow.conn, lease, chunk.through)
        _process(uow, chunk)
    if leases.lock(uow, lease, BulkStatus.RUNNING, duration).done_through != operation.done_through:
        raise ChunkOutOfOrderError
    if chunk is not None:
        _add_counts(uow, chunk)
    return _complete_if_last(uow, lease, chunk)


def next_boundary(conn: Connection, lease: BulkLease, size: int, after: UUID | None = None) -> UUID | None:
    """Returns the last run of the chunk of `size` runs that begins after the run `after`, or is the next one, if
    another chunk follows it; otherwise None.

    Raises:
        OperationLostError
    """
    operation = leases.get(conn, lease, BulkStatus.RUNNING)
    chunk = _find_chunk(conn, operation, after or operation.done_through or _NIL, size)
    return chunk.through if chunk is not None and _has_more(conn, chunk) else None


def process_next_chunk(uow: UnitOfWork, lease: BulkLease, after: UUID, size: int, duration: timedelta) -> bool:
    """Processes the chunk after the run `after`, in parallel with the chunk that ends there.

    Writes everything before it waits for the end of that chunk, and commits only if that has committed. Returns True if
    the operation has ended.

    Raises:
        OperationLostError, PipelineConflictError, ChunkOutOfOrderError
    """
    operation = leases.get(uow.conn, lease, BulkStatus.RUNNING)
    chunk = _find_chunk(uow.conn, operation, after, size)
    if chunk is None:
        return False
    if not actions.of_operation(operation).can_pipeline(uow.conn, chunk):
        raise PipelineConflictError
    _lock_turn(uow.conn, lease, chunk.through)
    _process(uow, chunk, is_pipelined=True)
    uow.flush()
    _lock_turn(uow.conn, lease, after)
    if leases.lock(uow, lease, BulkStatus.RUNNING, duration).done_through != after:
        raise ChunkOutOfOrderError
    _add_counts(uow, chunk)
    return _complete_if_last(uow, lease, chunk)


def fail_next_run(uow: UnitOfWork, lease: BulkLease, duration: timedelta) -> bool:
    """Records INTERNAL_ERROR for the next run, which cannot be processed. Returns True if the operation has ended.

    Raises:
        OperationLostError
    """
    chunk = _lock_next_chunk(uow, lease, 1, duration)
    if chunk is not None:
        outcomes.record(uow, chunk, BulkResult.FAILED, BulkReason.INTERNAL_ERROR)
        _add_counts(uow, chunk)
    return _complete_if_last(uow, lease, chunk)


def _lock_turn(conn: Connection, lease: BulkLease, through: UUID) -> None:
    """Waits for the end of the chunk that ends with the run `through`. The chunk itself locks its turn so."""
    if conn.dialect.name != "sqlite":
        # The key is made of the random ends of both IDs. Two chunks with the same key would only wait for each other.
        conn.execute(_LOCK_TURN, {"key": (lease.operation_id.int ^ through.int) & _RANDOM_BITS})


def _process(uow: UnitOfWork, chunk: Chunk, *, is_pipelined: bool = False) -> None:
    """Locks the runs of a chunk, and applies the action to the eligible ones.

    Raises:
        PipelineConflictError: the chunk is pipelined, and would wait for runs of the chunk before it.
    """
    action = actions.of_operation(chunk.operation)
    if not is_pipelined:
        action.lock_related(uow, chunk)
    runs = _lock_runs(uow, chunk)
    if is_pipelined and not action.is_alone(uow.conn, chunk):
        raise PipelineConflictError
    if runs:
        action.apply(uow, chunk, runs)


def _lock_next_chunk(uow: UnitOfWork, lease: BulkLease, size: int, duration: timedelta) -> Chunk | None:
    operation = leases.lock(uow, lease, BulkStatus.RUNNING, duration)
    return _find_chunk(uow.conn, operation, operation.done_through or _NIL, size)


def _find_chunk(conn: Connection, operation: BulkOperationRow, after: UUID, size: int) -> Chunk | None:
    bounds = conn.execute(_GET_BOUNDS, {"of_operation": operation.id, "after": after, "size": size}).first()
    if bounds is None:
        return None
    through, length, pending = bounds
    return Chunk(operation, after, through, length, pending, clock.now())


def _lock_runs(uow: UnitOfWork, chunk: Chunk) -> Sequence[RunRow]:
    """Locks the pending runs of a chunk, records the skipped ones, and returns the others."""
    action = actions.of_operation(chunk.operation)
    if action.judges_by_other_runs:
        # Another transaction may be retrying them: the judgement must begin after its commit.
        families.lock_selected(uow, outcomes.PENDING_IN_CHUNK, chunk.parameters)
    parameters = {**chunk.parameters, "source_id": chunk.operation.source_id}
    locked = fetch_all(uow.conn, action.lock_statement, parameters)
    by_refusal = group_by([run for run in locked if run.refusal is not None], "refusal")
    for reason, refused in by_refusal.items():
        outcomes.record(uow, chunk, BulkResult.SKIPPED, BulkReason(reason), [run.id for run in refused])
    if len(locked) < chunk.pending:
        outcomes.record_missing(uow, chunk)
    covered = set(action.covered(uow.conn, chunk))
    if covered:
        outcomes.record(uow, chunk, BulkResult.SKIPPED, BulkReason.COVERED_BY_PARENT, sorted(covered))
    if not covered and not by_refusal:
        return locked
    return [run for run in locked if run.refusal is None and run.id not in covered]


def _add_counts(uow: UnitOfWork, chunk: Chunk) -> None:
    """Adds the results of a chunk to the operation's counts, and moves its position to the end of the chunk."""
    length, succeeded, skipped, failed, became_eligible, became_ineligible = uow.conn.execute(
        _COUNT, chunk.parameters
    ).one()
    counted_before = length - chunk.pending  # These runs succeeded together with a run of an earlier chunk.
    counts = {
        "processed": chunk.pending,
        "succeeded": succeeded - counted_before,
        "skipped": skipped,
        "failed": failed,
        "became_eligible": became_eligible,
        "became_ineligible": became_ineligible,
    }
    more = {f"more_{name}": count for name, count in counts.items()}
    uow.conn.execute(_ADD_COUNTS, {"of_operation": chunk.operation.id, "through": chunk.through, **more})


def _complete_if_last(uow: UnitOfWork, lease: BulkLease, chunk: Chunk | None) -> bool:
    """Completes the operation if no run follows `chunk`, and records its progress. Returns True if it has ended."""
    has_ended = chunk is None or not _has_more(uow.conn, chunk)
    if has_ended:
        operations.end(uow, lease.operation_id, BulkStatus.COMPLETED)
    operations.record_progress(uow, lease.operation_id)
    return has_ended


def _has_more(conn: Connection, chunk: Chunk) -> bool:
    parameters = {"of_operation": chunk.operation.id, "after": chunk.through}
    return conn.execute(_GET_NEXT, parameters).first() is not None
