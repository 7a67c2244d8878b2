"""Bulk operations: what is asked for, the pinned set, and what became of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from db import projects
from db.bulk import operations as bulk_operations
from db.bulk import reads as bulk_reads
from db.bulk.operations import BulkLease, Selection
from db.bulk.reads import OutcomeFilter
from db.core import pubsub
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.sql.keyset import Edge, Page, Position
from db.sql.rows import AnyRow
from domain import clock, ids, json_codec
from domain.bulk import ENDED, BulkKind, BulkResult, BulkStatus
from domain.enums import RetryStrategy
from domain.errors import (
    BulkOperationEndedError,
    BulkOperationMismatchError,
    BulkOperationNotFoundError,
    BulkOperationUnderWayError,
    EmptyFilterError,
    IdempotencyConflictError,
    InvalidArgumentError,
    PlanExpiredError,
    PlanMismatchError,
    PlanNotFoundError,
    PlanUsedError,
    ProjectNotFoundError,
    TooManyBulkOperationsError,
)
from domain.ids import IdKind
from domain.run_filter import Archived, RunFilter
from engine.bulk_worker import LEASE, ChunkPipeline
from engine.run_creation import Idempotency
from resolvers import authorize, runs
from resolvers.context import Context
from resolvers.start import POLL_SECONDS

SMALL = 500
"""Runs of an operation that has ended when the mutation answers."""
MAX_UNDER_WAY = 5
"""Operations of one project that are under way at once."""
MAX_PLANS = 20
"""Of one project that wait to be carried out."""
PLAN_LIFETIME = timedelta(hours=1)
MAX_PER_SECOND = 10_000
MAX_SPREAD_MS = 7 * 24 * 3600 * 1000
SAMPLE = 10
"""Runs that a plan shows."""
_PAGE = 5_000
"""Runs that are pinned at once."""
_PREPARING = timedelta(minutes=1)
"""For which a set may take until its next runs are pinned."""
_OPERATIONS = 200
_OUTCOMES = 201
"""The numbers by which cursors name the orders of operations and outcomes."""

_SOURCES = {
    BulkKind.RETRY: (BulkKind.RETRY, BulkResult.FAILED),
    BulkKind.UNARCHIVE: (BulkKind.ARCHIVE, BulkResult.SUCCEEDED),
}
"""Of which kind, and with which result there, the runs are that an operation takes from an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """What a client wants done to many runs."""

    kind: BulkKind
    filter: RunFilter | None = None
    filter_text: str | None = None
    """JSON text, as it was given."""
    excluded_ids: Sequence[str] = ()
    source_id: str | None = None
    """The earlier operation of which the runs are taken, instead of a filter."""
    plan_id: str | None = None
    dry_run: bool = False
    strategy: RetryStrategy | None = None
    max_per_second: float | None = None
    spread_over_ms: int | None = None
    idempotency_key: str | None = None

    @property
    def idempotency(self) -> Idempotency:
        """The key, with the hash of what else is asked for.

        Raises:
            InvalidArgumentError: the key is empty, too long, or has a character that cannot be kept.
        """
        wanted = json_codec.decode(self.filter_text) if self.filter_text is not None else None
        same = [self.kind, wanted, sorted(self.excluded_ids), self.source_id, self.dry_run, self.strategy]
        return Idempotency.of(self.idempotency_key, ["bulk", *same, self.max_per_second, self.spread_over_ms])

    @property
    def pace(self) -> dict[str, Any]:
        """The columns of the pace, as far as it is given.

        Raises:
            InvalidArgumentError: one is out of range.
        """
        if self.max_per_second is not None and not 0.001 <= self.max_per_second <= MAX_PER_SECOND:
            raise InvalidArgumentError(f"`maxPerSecond` must be from 0.001 to {MAX_PER_SECOND:,}.")
        if self.spread_over_ms is not None and not 0 <= self.spread_over_ms <= MAX_SPREAD_MS:
            raise InvalidArgumentError(f"`spreadOverMs` must be from 0 to {MAX_SPREAD_MS:,}.")
        given = {"max_per_second": self.max_per_second, "spread_over_ms": self.spread_over_ms}
        return {name: value for name, value in given.items() if value is not None}


async def begin(context: Context, request: BulkRequest) -> UUID:
    """Begin a bulk operation, or make a plan of it; returns its key. A small one has ended then.

    Under an idempotency key that was used before, the operation that was begun, or planned, then.

    Raises:
        InvalidIdError, InvalidArgumentError, EmptyFilterError, ProjectNotFoundError, TooManyBulkOperationsError,
        PlanNotFoundError, PlanMismatchError, PlanExpiredError, PlanUsedError, BulkOperationNotFoundError,
        BulkOperationMismatchError, BulkOperationUnderWayError, IdempotencyConflictError.
    """
    pace = request.pace
    if request.plan_id is not None:
        held = await _carry_out(context, request, pace)
    else:
        found = await _prepare(context, request, pace)
        if not isinstance(found, BulkLease):
            return found
        held = found
        if request.dry_run:
            await context.database.write(bulk_operations.plan, held, PLAN_LIFETIME)
            return held.operation_id
        await context.database.write(bulk_operations.start, held, LEASE)
    await _begin_work(context, held)
    return held.operation_id


async def cancel(context: Context, operation_id: str) -> UUID:
    """End a bulk operation, or drop a plan; returns its key. What was done stays done.

    Raises:
        InvalidIdError, BulkOperationNotFoundError, BulkOperationEndedError.
    """
    row = await _existing(context, operation_id)
    if not await context.database.write(bulk_operations.cancel, row.id):
        raise BulkOperationEndedError
    return row.id  # type: ignore[no-any-return]


async def wait(context: Context, key: UUID, milliseconds: int) -> None:
    """Return when the operation has ended, or after `milliseconds`."""
    ends_at = clock.now() + timedelta(milliseconds=milliseconds)
    with context.database.signals.listen(pubsub.operation_changed(key)) as changed:
        while (left := (ends_at - clock.now()).total_seconds()) > 0:
            changed.clear()
            row = (await context.database.read(bulk_reads.by_ids, [key], frozenset({"status"}))).get(key)
            if row is None or row.status in ENDED or row.status == BulkStatus.PLANNED:
                return
            await clock.wait_for(changed, min(left, POLL_SECONDS))


async def get(context: Context, operation_id: str, columns: frozenset[str]) -> AnyRow | None:
    """The operation `operation_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: it is not the ID of a bulk operation.
    """
    row = await context.loaders.load(bulk_reads.by_ids, ids.decode(IdKind.BULK_OPERATION, operation_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def visible(context: Context, operation_id: str) -> UUID:
    """The key of an operation that the viewer sees.

    Raises:
        InvalidIdError, BulkOperationNotFoundError.
    """
    return (await _existing(context, operation_id)).id  # type: ignore[no-any-return]


async def written(context: Context, key: UUID, columns: frozenset[str]) -> AnyRow:
    """An operation as it is now; not what the request may have seen before."""
    return (await context.database.read(bulk_reads.by_ids, [key], columns))[key]


class OperationList:
    """The operations that the viewer sees, newest first; plans are left out."""

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._project_id = context.viewer.project_id
        self.ordering = _OPERATIONS

    async def page(self, columns: Collection[str], page: Page) -> Sequence[AnyRow]:
        """Returns the operations of a page."""
        return await self._database.read(bulk_reads.page, columns, self._project_id, page)

    async def has_more(self, edge: Edge) -> bool:
        """True if an operation stands beyond `edge`."""
        return await self._database.read(bulk_reads.has_more, self._project_id, edge)

    async def count(self, limit: int | None) -> int:
        """Returns the number of operations, at most `limit`."""
        return await self._database.read(bulk_reads.count, self._project_id, limit)

    def position(self, row: AnyRow) -> Position:
        """Returns the position of an operation."""
        return Position(0, row.id)


class OutcomeList:
    """The outcomes of an operation that match a filter, in the order in which their runs were created."""

    def __init__(self, context: Context, key: UUID, where: OutcomeFilter) -> None:
        self._database = context.database
        self._key = key
        self._where = where
        self.ordering = _OUTCOMES

    async def page(self, _: Collection[str], page: Page) -> Sequence[AnyRow]:
        """Returns the outcomes of a page, with all columns."""
        return await self._database.read(bulk_reads.outcomes_page, self._key, self._where, page)

    async def has_more(self, edge: Edge) -> bool:
        """True if an outcome stands beyond `edge`."""
        return await self._database.read(bulk_reads.has_more_outcomes, self._key, self._where, edge)

    async def count(self, limit: int | None) -> int:
        """Returns the number of outcomes, at most `limit`."""
        return await self._database.read(bulk_reads.outcomes_count, self._key, self._where, limit)

    def position(self, row: AnyRow) -> Position:
        """Returns the position of an outcome."""
        return Position(0, row.run_id)


async def sample(context: Context, key: UUID) -> Sequence[AnyRow]:
    """The first outcomes of a plan."""
    return await context.database.read(bulk_reads.outcomes_page, key, OutcomeFilter(), Page(SAMPLE))


async def reasons(context: Context, key: UUID) -> Mapping[str, int]:
    """How many runs were skipped or failed, by the reason."""
    return await context.loaders.load(bulk_reads.reasons_by_operations, key) or {}


async def planned_reasons(context: Context, key: UUID) -> Mapping[str, int]:
    """Of how many runs a plan foretells what."""
    return await context.loaders.load(bulk_reads.planned_reasons_by_operations, key) or {}


async def _prepare(context: Context, request: BulkRequest, pace: Mapping[str, Any]) -> BulkLease | UUID:
    """An operation with its set pinned; or the key of the one that was asked for before."""
    source = await _source(context, request)
    selection = await _selection(context, request, source)
    strategy = request.strategy or (source.strategy if source is not None else None)
    if request.kind is BulkKind.RETRY and strategy is None:
        raise InvalidArgumentError("`strategy` is needed.")
    project_id = await _project(context, selection, source)
    values = {
        "project_id": project_id,
        "kind": request.kind,
        "strategy": strategy,
        "source_id": selection.source_id,
        "filter": request.filter_text,
        "excluded_ids": json_codec.encode(
            list(request.excluded_ids), limit=json_codec.MAX_INPUT_BYTES, what="excludeIds"
        ),
        "key_id": context.viewer.key_id,
        "key_name": context.viewer.name,
        **pace,
        **request.idempotency.values,
    }
    held = await _insert(context, request, project_id, values)
    if not isinstance(held, BulkLease):
        return held
    after: UUID | None = None
    while found := await context.database.read(bulk_operations.selected_after, selection, after, _PAGE):
        await context.database.write(bulk_operations.pin, held, found, _PREPARING, foretell=request.dry_run)
        after = found[-1]
    return held


async def _insert(
    context: Context, request: BulkRequest, project_id: UUID | None, values: Mapping[str, Any]
) -> BulkLease | UUID:
    """A new operation, whose set is to be pinned; or the one that was asked for before, once its set is."""
    idempotency = request.idempotency

    def work(uow: UnitOfWork) -> BulkLease | AnyRow:
        if project_id is not None:
            bulk_operations.lock_project(uow, project_id)
        if idempotency.key is not None and (
            earlier := bulk_operations.find_by_idempotency_key(uow, project_id, idempotency.key)
        ):
            if earlier.request_hash != idempotency.request_hash:
                raise IdempotencyConflictError
            return earlier
        _check_bounds(uow.conn, project_id, plans=1 if request.dry_run else 0)
        return bulk_operations.prepare(uow, values, _PREPARING)

    while True:
        try:
            found = await context.database.write(work)
        except ConflictError:
            if idempotency.key is None:
                raise
            continue  # the same request came at the same time, and is found now
        if isinstance(found, BulkLease):
            return found
        if found.status != BulkStatus.PREPARING:
            return found.id  # type: ignore[no-any-return]
        with context.database.signals.listen(pubsub.operation_changed(found.id)) as changed:
            await clock.wait_for(changed, POLL_SECONDS)


async def _source(context: Context, request: BulkRequest) -> AnyRow | None:
    if request.source_id is None:
        return None
    row = await _existing(context, request.source_id)
    if row.kind != _SOURCES[request.kind][0]:
        raise BulkOperationMismatchError
    if row.status not in ENDED:
        raise BulkOperationUnderWayError
    return row


async def _selection(context: Context, request: BulkRequest, source: AnyRow | None) -> Selection:
    excluded = [ids.decode(IdKind.RUN, text) for text in request.excluded_ids]
    if source is not None:
        if request.filter is not None:
            raise InvalidArgumentError("Give a filter or an earlier operation, not both.")
        return Selection(None, source.id, _SOURCES[request.kind][1], excluded, None, clock.now())
    if request.filter is None or request.filter.is_empty:
        raise EmptyFilterError
    now, wanted = clock.now(), request.filter
    if wanted.ids is not None:
        # As the reference has it: where runs are named, nothing else counts.
        wanted = RunFilter(project_ids=wanted.project_ids, ids=wanted.ids, archived=Archived.INCLUDE)
    wanted = runs.scoped(context, wanted)
    upper = await context.database.read(bulk_operations.newest_run, wanted.project_ids)
    return Selection(wanted, None, None, excluded, upper, now)


async def _project(context: Context, selection: Selection, source: AnyRow | None) -> UUID | None:
    """The project that sees the operation; None: only the operator's key does."""
    if context.viewer.project_id is not None:
        return context.viewer.project_id
    if source is not None:
        return source.project_id  # type: ignore[no-any-return]
    wanted = selection.wanted.project_ids if selection.wanted else None
    if wanted is None or len(wanted) != 1:
        return None
    if not await context.database.read(projects.by_ids, wanted, frozenset()):
        raise ProjectNotFoundError
    return wanted[0]


async def _carry_out(context: Context, request: BulkRequest, pace: Mapping[str, Any]) -> BulkLease:
    """A plan that is carried out from now on."""
    if request.dry_run or request.filter is not None or request.source_id is not None or request.excluded_ids:
        raise InvalidArgumentError("`planId` says which runs are meant: it goes without anything else that does.")
    if request.idempotency_key is not None:
        raise InvalidArgumentError("A plan is carried out once by itself: `idempotencyKey` goes without `planId`.")
    assert request.plan_id is not None
    plan = await get(context, request.plan_id, frozenset({"kind", "strategy", "status", "expires_at"}))
    if plan is None or plan.expires_at is None:
        raise PlanNotFoundError
    if plan.kind != request.kind or request.strategy not in (None, plan.strategy):
        raise PlanMismatchError
    if plan.status != BulkStatus.PLANNED:
        raise PlanUsedError

    def work(uow: UnitOfWork) -> BulkLease:
        if plan.project_id is not None:
            bulk_operations.lock_project(uow, plan.project_id)
        _check_bounds(uow.conn, plan.project_id, plans=0)
        held = bulk_operations.execute_plan(uow, plan.id, pace, LEASE)
        if held is None:
            raise PlanExpiredError if plan.expires_at <= clock.now() else PlanUsedError
        return held

    return await context.database.write(work)


def _check_bounds(conn: Any, project_id: UUID | None, *, plans: int) -> None:
    under_way, planned = bulk_operations.open_counts(conn, project_id)
    if plans and planned + plans > MAX_PLANS:
        raise TooManyBulkOperationsError(f"The project has {planned} plans that wait to be carried out or to expire.")
    if not plans and under_way >= MAX_UNDER_WAY:
        raise TooManyBulkOperationsError


async def _begin_work(context: Context, held: BulkLease) -> None:
    """End a small operation now; leave a large one to the workers."""
    carrier = ChunkPipeline(context.database, held)
    row = await written(context, held.operation_id, frozenset({"matched"}))
    if row.matched <= SMALL:
        await carrier.finish()
    else:
        await carrier.release()


async def _existing(context: Context, operation_id: str) -> AnyRow:
    key = ids.decode(IdKind.BULK_OPERATION, operation_id)
    columns = frozenset({"kind", "status", "strategy"})
    row = (await context.database.read(bulk_reads.by_ids, [key], columns)).get(key)
    if row is None or not authorize.can_see(context.viewer, row):
        raise BulkOperationNotFoundError
    return row
