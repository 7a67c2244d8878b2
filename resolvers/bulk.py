"""Starts, plans and cancels bulk operations, and finds the operations that the viewer can see."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from db import audit_events, projects
from db.bulk import actions, operations, pinning, plans, reads
from db.bulk.leases import BulkLease
from db.bulk.pinning import Selection
from db.bulk.reads import OperationFilter, OutcomeFilter
from db.core import pubsub
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.narrowing import narrow
from db.row_types import BulkOperationRow, BulkOutcomeRow
from db.sql.keyset import Edge, Page, Position
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.bulk import ENDED, BulkKind, BulkStatus
from domain.enums import RetryStrategy
from domain.errors import (
    BulkOperationEndedError,
    BulkOperationMismatchError,
    BulkOperationNotEndedError,
    BulkOperationNotFoundError,
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
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.time import clock
from engine.run_creation import Idempotency
from engine.worker.bulk_worker import LEASE, ChunkPipeline
from resolvers import authorize
from resolvers.context import Context
from resolvers.flow_runs import retry, runs, waiting
from resolvers.lists import RowList

MAX_SYNCHRONOUS_RUNS = 500
"""Largest number of runs that an operation processes before the mutation returns; that takes some 100 ms."""
MAX_ACTIVE = 5
"""Largest number of active operations of one project."""
MAX_PLANS = 20
"""Largest number of open plans of one project: plans that are neither executed, cancelled nor expired. One more plan
makes the oldest one expire, so that a person who tries filters is never blocked."""
PLAN_LIFETIME = timedelta(hours=1)
"""Time for which a plan can be executed."""
MAX_PER_SECOND = 10_000
MAX_SPREAD_MS = 7 * 24 * 3600 * 1000
"""Longest spread in milliseconds: one week."""
SAMPLE_SIZE = 10
"""Number of outcomes in the sample of a plan."""
_PIN_SIZE = 5_000
"""Runs that are pinned in one transaction."""
_PREPARATION_LEASE = timedelta(minutes=1)
"""Time without newly pinned runs after which a preparation counts as lost."""
_HONOURED_BESIDE_IDS = {"projectIds"}
"""The fields of a filter that restrict its `ids` too."""
_KEPT_OF_ERASURE = frozenset({"ids", "projectIds", "flowIds"})
"""Fields of the filter of a bulk erase whose values are kept."""
_ORDER_OF_OPERATIONS = 200
_ORDER_OF_OUTCOMES = 201
"""The numbers by which cursors name the orders of operations and outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """A client's request to change many runs."""

    kind: BulkKind
    filter: RunFilter | None = None
    filter_text: str | None = None
    """The filter as JSON text, as the client sent it."""
    excluded_ids: Sequence[str] = ()
    source_id: str | None = None
    """The earlier operation whose runs are selected, instead of a filter."""
    plan_id: str | None = None
    dry_run: bool = False
    strategy: RetryStrategy | None = None
    step_name: str | None = None
    max_per_second: float | None = None
    spread_over_ms: int | None = None
    idempotency_key: str | None = None

    @property
    def idempotency(self) -> Idempotency:
        """Returns the idempotency key, with a hash of all other arguments.

        Raises:
            InvalidArgumentError: the key is empty, too long, or contains a character that cannot be stored.
        """
        # A field with its default value counts as omitted.
        filter_ = asdict(self.filter.without_blanks()) if self.filter is not None else None
        selection = [self.kind, filter_, sorted(self.excluded_ids), self.source_id, self.dry_run, self.strategy]
        # A missing step is left out, so that requests of before the step existed keep their hashes.
        step = [] if self.step_name is None else [self.step_name]
        pace = [self.max_per_second, self.spread_over_ms]
        return Idempotency.of(self.idempotency_key, ["bulk", *selection, *pace, *step])

    @property
    def kept_filter_text(self) -> str | None:
        """The text of the filter that the operation keeps. An erasure keeps no value that names whom it is about."""
        if self.kind is not BulkKind.ERASE or self.filter_text is None:
            return self.filter_text
        given = json_codec.decode(self.filter_text)
        kept = {name: value if name in _KEPT_OF_ERASURE else None for name, value in given.items()}
        return json_codec.encode(kept, limit=json_codec.MAX_INPUT_BYTES, what="filter")

    @property
    def pace(self) -> dict[str, Any]:
        """Returns the columns of the pace, without those that the request omits.

        Raises:
            InvalidArgumentError: a value is out of range.
        """
        pace: dict[str, Any] = {}
        if self.max_per_second is not None:
            if not 0.001 <= self.max_per_second <= MAX_PER_SECOND:
                raise InvalidArgumentError(
                    f"`maxPerSecond` must be between 0.001 and {MAX_PER_SECOND:,}, got {self.max_per_second:g}."
                )
            pace["max_per_second"] = self.max_per_second
        if self.spread_over_ms is not None:
            if not 0 <= self.spread_over_ms <= MAX_SPREAD_MS:
                raise InvalidArgumentError(
                    f"`spreadOverMs` must be between 0 and {MAX_SPREAD_MS:,}, got {self.spread_over_ms:,}."
                )
            pace["spread_over_ms"] = self.spread_over_ms
        return pace


async def begin(context: Context, request: BulkRequest) -> UUID:
    """Starts a bulk operation, plans one, or executes a plan; returns the operation's key.

    A small operation has ended when this returns. A repeated request with the same idempotency key returns the
    operation of the first request.

    Raises:
        InvalidIdError, InvalidArgumentError, EmptyFilterError, ProjectNotFoundError, TooManyBulkOperationsError,
        PlanNotFoundError, PlanMismatchError, PlanExpiredError, PlanUsedError, BulkOperationNotFoundError,
        BulkOperationMismatchError, BulkOperationNotEndedError, IdempotencyConflictError.
    """
    pace = request.pace
    if request.plan_id is not None:
        lease = await _execute_plan(context, request, request.plan_id, pace)
    else:
        prepared = await _prepare(context, request, pace)
        if not isinstance(prepared, BulkLease):
            return prepared
        lease = prepared
        if request.dry_run:
            await context.database.write(plans.keep_as_plan, lease, PLAN_LIFETIME)
            return lease.operation_id
        await context.database.write(_start, context.origin, lease)
    pipeline = ChunkPipeline(context.database, lease)
    found = await context.database.read(reads.by_ids, [lease.operation_id], frozenset({"matched"}))
    if found[lease.operation_id].matched <= MAX_SYNCHRONOUS_RUNS:
        await pipeline.finish()
    else:
        await pipeline.release()
    return lease.operation_id


async def cancel(context: Context, operation_id: str) -> UUID:
    """Cancels a bulk operation, or a plan so that it can no longer be executed; returns its key. Changed runs stay
    changed.

    Raises:
        InvalidIdError, BulkOperationNotFoundError, BulkOperationEndedError.
    """
    operation = await require(context, operation_id)
    await context.database.write(_cancel, context.origin, operation)
    return operation.id


def _start(uow: UnitOfWork, origin: Origin, lease: BulkLease) -> None:
    operation = pinning.start(uow, lease, LEASE)
    details = {"strategy": operation.strategy, "matched": operation.matched}
    _record(uow, origin, AuditAction(f"BULK_{operation.kind}"), operation, details)


def _cancel(uow: UnitOfWork, origin: Origin, operation: BulkOperationRow) -> None:
    if not operations.cancel(uow, operation.id):
        raise BulkOperationEndedError
    _record(uow, origin, AuditAction.CANCEL_BULK_OPERATION, operation, {"kind": operation.kind})


def _record(
    uow: UnitOfWork, origin: Origin, action: AuditAction, operation: BulkOperationRow, details: Mapping[str, Any]
) -> None:
    audit_events.record(uow, origin, action, IdKind.BULK_OPERATION, operation.id, operation.project_id, details=details)


async def wait_for_end(context: Context, key: UUID, milliseconds: int) -> None:
    """Returns when the operation has ended or is a plan, or after `milliseconds`."""

    async def has_stopped() -> bool:
        row = (await context.database.read(reads.by_ids, [key], frozenset({"status"}))).get(key)
        return row is None or row.status in ENDED or row.status == BulkStatus.PLANNED

    await waiting.wait_until(context, pubsub.operation_changed(key), milliseconds, has_stopped)


async def get(context: Context, operation_id: str, columns: frozenset[str]) -> BulkOperationRow | None:
    """Returns the operation `operation_id`; None if the viewer can see no such operation.

    Raises:
        InvalidIdError: it is not the ID of a bulk operation.
    """
    row = await context.loaders.load(reads.by_ids, ids.decode(IdKind.BULK_OPERATION, operation_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def require(context: Context, operation_id: str) -> BulkOperationRow:
    """Returns `id`, `kind`, `status`, `strategy` and `step_name` of an operation that the viewer can see.

    Raises:
        InvalidIdError, BulkOperationNotFoundError.
    """
    key = ids.decode(IdKind.BULK_OPERATION, operation_id)
    columns = frozenset({"kind", "status", "strategy", "step_name"})
    row = (await context.database.read(reads.by_ids, [key], columns)).get(key)
    if row is None or not authorize.can_see(context.viewer, row):
        raise BulkOperationNotFoundError
    return row


def ignored_fields(filter_: Mapping[str, Any]) -> list[str]:
    """Returns the names of the fields of a filter that clients gave and that are ignored beside `ids`."""
    return sorted(filter_.keys() - _HONOURED_BESIDE_IDS - {"ids"}) if "ids" in filter_ else []


def list_of(context: Context, *, with_plans: bool) -> RowList:
    """Returns the operations that the viewer can see, newest first; plans only with `with_plans`."""
    where = OperationFilter(context.viewer.project_id, with_plans)
    return RowList(context.database, reads.LISTING, where, _ORDER_OF_OPERATIONS)


class OutcomeList:
    """The outcomes of an operation that match a filter, in the order in which the runs were created."""

    ordering = _ORDER_OF_OUTCOMES

    def __init__(self, context: Context, key: UUID, where: OutcomeFilter) -> None:
        self._database = context.database
        self._key = key
        self._where = where

    async def page(self, _: Collection[str], page: Page) -> Sequence[BulkOutcomeRow]:
        """Returns the outcomes of a page, with all columns."""
        return await self._database.read(reads.outcomes_page, self._key, self._where, page)

    async def has_more(self, edge: Edge) -> bool:
        """Returns True if an outcome follows `edge`."""
        return await self._database.read(reads.has_more_outcomes, self._key, self._where, edge)

    async def count(self, limit: int | None) -> int:
        """Returns the number of outcomes, at most `limit`."""
        return await self._database.read(reads.outcomes_count, self._key, self._where, limit)

    def position(self, row: BulkOutcomeRow) -> Position:
        """Returns the position of an outcome."""
        return Position(0, row.run_id)


async def _prepare(context: Context, request: BulkRequest, pace: Mapping[str, Any]) -> BulkLease | UUID:
    """Pins the runs of a new operation, or returns the key of the operation with the same idempotency key."""
    source = await _source(context, request)
    selection = await _selection(context, request, source)
    strategy = request.strategy
    if strategy is None and source is not None and source.strategy is not None:
        strategy = RetryStrategy(source.strategy)
    if actions.find(request.kind, strategy) is None:
        raise InvalidArgumentError(f"`strategy` is required: {', '.join(f'`{known}`' for known in RetryStrategy)}.")
    step_name = request.step_name or (source.step_name if source is not None and not request.strategy else None)
    if strategy is not None:
        retry.check_step_name(strategy, step_name)
    project_id = await _project_id(context, selection, source)
    values = {
        "project_id": project_id,
        "kind": request.kind,
        "strategy": strategy,
        "step_name": step_name,
        "source_id": selection.source_id,
        "filter": request.kept_filter_text,
        "excluded_ids": json_codec.encode(
            list(request.excluded_ids), limit=json_codec.MAX_INPUT_BYTES, what="excludeIds"
        ),
        "user_id": context.viewer.user_id,
        "key_id": context.viewer.key_id,
        "key_name": context.viewer.name,
        **pace,
        **request.idempotency.values,
    }
    lease = await _insert(context, request, project_id, values)
    if not isinstance(lease, BulkLease):
        return lease
    last: UUID | None = None
    while run_ids := await context.database.read(pinning.select_runs, selection, last, _PIN_SIZE):
        await context.database.write(pinning.pin, lease, run_ids, _PREPARATION_LEASE, dry_run=request.dry_run)
        last = run_ids[-1]
    return lease


async def _insert(
    context: Context, request: BulkRequest, project_id: UUID | None, values: Mapping[str, Any]
) -> BulkLease | UUID:
    """Inserts an operation, or returns the key of the operation with the same idempotency key, once its runs are
    pinned."""
    idempotency = request.idempotency

    def insert(uow: UnitOfWork) -> BulkLease | BulkOperationRow:
        if project_id is not None:
            operations.lock_project(uow, project_id)
        if idempotency.key is not None and (
            earlier := operations.find_by_idempotency_key(uow, project_id, idempotency.key)
        ):
            if earlier.request_hash != idempotency.request_hash:
                raise IdempotencyConflictError
            return earlier
        _enforce_limits(uow, project_id, is_plan=request.dry_run)
        return pinning.prepare(uow, values, _PREPARATION_LEASE)

    while True:
        try:
            operation = await context.database.write(insert)
        except ConflictError:
            if idempotency.key is None:
                raise
            continue  # The same request arrived at the same time. Its operation is found in the next iteration.
        if isinstance(operation, BulkLease):
            return operation
        if operation.status != BulkStatus.PREPARING:
            return operation.id
        with context.database.pubsub.subscribe(pubsub.operation_changed(operation.id)) as changed:
            await clock.wait_for(changed, waiting.POLL_SECONDS)


async def _source(context: Context, request: BulkRequest) -> BulkOperationRow | None:
    """Returns the earlier operation whose runs are selected."""
    if request.source_id is None:
        return None
    source = await require(context, request.source_id)
    if actions.takes_over(request.kind)[0] != source.kind:
        raise BulkOperationMismatchError
    if source.status not in ENDED:
        raise BulkOperationNotEndedError
    return source


async def _selection(context: Context, request: BulkRequest, source: BulkOperationRow | None) -> Selection:
    excluded_ids = [ids.decode(IdKind.RUN, text) for text in request.excluded_ids]
    if source is not None:
        if request.filter is not None:
            raise InvalidArgumentError("Give a filter or an earlier operation, not both.")
        return Selection(None, source.id, actions.takes_over(request.kind)[1], excluded_ids, None, clock.now())
    if request.filter is None or request.filter.is_empty:
        raise EmptyFilterError
    now, where = clock.now(), request.filter
    if where.ids is not None:
        # The API defines that a filter with `ids` ignores its other fields.
        where = RunFilter(project_ids=where.project_ids, ids=where.ids, archived=Archived.INCLUDE)
    where = runs.scoped(context, where)
    if where.searched:
        await context.database.read(narrow.require_search, where)
    newest_id = await context.database.read(pinning.newest_run, where.project_ids)
    return Selection(where, None, None, excluded_ids, newest_id, now)


async def _project_id(context: Context, selection: Selection, source: BulkOperationRow | None) -> UUID | None:
    """Returns the project to which the operation belongs; None if only operator keys can see it."""
    if context.viewer.project_id is not None:
        return context.viewer.project_id
    if source is not None:
        return source.project_id
    project_ids = selection.filter.project_ids if selection.filter else None
    if project_ids is None or len(project_ids) != 1:
        return None
    if not await context.database.read(projects.by_ids, project_ids, frozenset()):
        raise ProjectNotFoundError
    return project_ids[0]


async def _execute_plan(context: Context, request: BulkRequest, plan_id: str, pace: Mapping[str, Any]) -> BulkLease:
    if request.dry_run or request.filter is not None or request.source_id is not None or request.excluded_ids:
        raise InvalidArgumentError(
            "`planId` already selects the runs. Leave out the filter, `excludeIds`, `dryRun` and earlier operations."
        )
    if request.idempotency_key is not None:
        raise InvalidArgumentError("`planId` and `idempotencyKey` exclude each other: a plan is executed once anyway.")
    columns = frozenset({"kind", "strategy", "step_name", "status", "expires_at", "matched"})
    plan = await get(context, plan_id, columns)
    if plan is None or (expires_at := plan.expires_at) is None:
        raise PlanNotFoundError
    if plan.kind != request.kind or request.strategy not in (None, plan.strategy):
        raise PlanMismatchError
    if request.step_name not in (None, plan.step_name):
        raise PlanMismatchError
    if plan.status != BulkStatus.PLANNED:
        raise PlanUsedError

    # The origin is read here: the unit of work may run in a thread, which does not know the request.
    origin = context.origin

    def execute(uow: UnitOfWork) -> BulkLease:
        if plan.project_id is not None:
            operations.lock_project(uow, plan.project_id)
        _enforce_limits(uow, plan.project_id, is_plan=False)
        lease = plans.execute_plan(uow, plan.id, pace, LEASE)
        if lease is None:
            raise PlanExpiredError if expires_at <= clock.now() else PlanUsedError
        details = {"strategy": plan.strategy, "matched": plan.matched, "dryRunBefore": True}
        _record(uow, origin, AuditAction(f"BULK_{plan.kind}"), plan, details)
        return lease

    return await context.database.write(execute)


def _enforce_limits(uow: UnitOfWork, project_id: UUID | None, *, is_plan: bool) -> None:
    """Keeps a project within its limits before it gets one more operation, or plan."""
    if is_plan:
        plans.expire_oldest(uow, project_id, MAX_PLANS - 1)
    elif operations.count_active(uow.conn, project_id) >= MAX_ACTIVE:
        raise TooManyBulkOperationsError
