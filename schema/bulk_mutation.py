"""Mutations of many runs at once."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.bulk import BulkKind
from domain.run_filter import Archived
from resolvers import bulk, start
from resolvers.bulk import BulkRequest
from schema.enums import RetryStrategy, Role
from schema.errors import (
    BulkOperationEnded,
    BulkOperationMismatch,
    BulkOperationNotFound,
    BulkOperationUnderWay,
    EmptyFilter,
    IdempotencyConflict,
    PlanExpired,
    PlanMismatch,
    PlanNotFound,
    PlanUsed,
    ProjectNotFound,
    TooManyBulkOperations,
)
from schema.fields import Info, columns_of
from schema.filters import FlowRunFilter, check_run_ids
from schema.roles import mutation
from schema.scalars import BigInt
from schema.types.bulk_operation import BulkOperation


def _arg(description: str) -> Any:
    return strawberry.argument(description=description)


@strawberry.type(description="The operation, begun or ended; after a dry run it is only planned.")
class BulkCancelSuccess:
    """The operation."""

    operation: BulkOperation = strawberry.field(description="The operation as it is now.")


@strawberry.type(description="The operation, begun or ended; after a dry run it is only planned.")
class BulkRetrySuccess:
    """The operation."""

    operation: BulkOperation = strawberry.field(description="The operation as it is now.")


@strawberry.type(description="The operation, begun or ended; after a dry run it is only planned.")
class BulkArchiveSuccess:
    """The operation."""

    operation: BulkOperation = strawberry.field(description="The operation as it is now.")


@strawberry.type(description="The operation, begun or ended; after a dry run it is only planned.")
class BulkUnarchiveSuccess:
    """The operation."""

    operation: BulkOperation = strawberry.field(description="The operation as it is now.")


@strawberry.type(description="The operation, cancelled.")
class CancelBulkOperationSuccess:
    """The operation, cancelled."""

    operation: BulkOperation = strawberry.field(description="The operation as it is now.")


_WHY_NOT = "The operation, or why it did not begin."

BulkCancelResult = Annotated[
    BulkCancelSuccess
    | EmptyFilter
    | ProjectNotFound
    | PlanNotFound
    | PlanMismatch
    | PlanExpired
    | PlanUsed
    | TooManyBulkOperations
    | IdempotencyConflict,
    strawberry.union("BulkCancelResult", description=_WHY_NOT),
]
BulkArchiveResult = Annotated[
    BulkArchiveSuccess
    | EmptyFilter
    | ProjectNotFound
    | PlanNotFound
    | PlanMismatch
    | PlanExpired
    | PlanUsed
    | TooManyBulkOperations
    | IdempotencyConflict,
    strawberry.union("BulkArchiveResult", description=_WHY_NOT),
]
BulkRetryResult = Annotated[
    BulkRetrySuccess
    | EmptyFilter
    | ProjectNotFound
    | PlanNotFound
    | PlanMismatch
    | PlanExpired
    | PlanUsed
    | BulkOperationNotFound
    | BulkOperationMismatch
    | BulkOperationUnderWay
    | TooManyBulkOperations
    | IdempotencyConflict,
    strawberry.union("BulkRetryResult", description=_WHY_NOT),
]
BulkUnarchiveResult = Annotated[
    BulkUnarchiveSuccess
    | EmptyFilter
    | ProjectNotFound
    | PlanNotFound
    | PlanMismatch
    | PlanExpired
    | PlanUsed
    | BulkOperationNotFound
    | BulkOperationMismatch
    | BulkOperationUnderWay
    | TooManyBulkOperations
    | IdempotencyConflict,
    strawberry.union("BulkUnarchiveResult", description=_WHY_NOT),
]
CancelBulkOperationResult = Annotated[
    CancelBulkOperationSuccess | BulkOperationNotFound | BulkOperationEnded,
    strawberry.union("CancelBulkOperationResult", description="The operation, or why not."),
]

Which = Annotated[
    FlowRunFilter | None,
    _arg("Which runs are meant. Where it names `ids`, its other fields are ignored. One that says nothing is refused."),
]
Excluded = Annotated[list[strawberry.ID] | None, _arg("Runs that are left out, whatever else is said.")]
DryRun = Annotated[bool, _arg("Only find out what would be done: `operation.plan` tells, and has a `planId`.")]
PlanId = Annotated[strawberry.ID | None, _arg("Do what a dry run found, to just those runs; without a filter.")]
IdempotencyKey = Annotated[
    str | None, _arg("Under one key a project begins one operation, or plans one; asking again returns it.")
]
WaitMs = Annotated[int | None, _arg("Answer when the operation has ended, or after so many milliseconds.")]


@strawberry.type(description="Writes of many runs.")
class BulkMutation:
    """A part of the root of mutations."""

    @mutation(
        Role.OPERATOR,
        "Stops runs, and every live run below them. Small sets are done when this answers, large ones go on.",
    )
    async def bulk_cancel(
        self,
        info: Info,
        filter: Which = None,  # noqa: A002
        exclude_ids: Excluded = None,
        dry_run: DryRun = False,
        plan_id: PlanId = None,
        idempotency_key: IdempotencyKey = None,
        wait_ms: WaitMs = None,
    ) -> BulkCancelResult:
        request = _request(BulkKind.CANCEL, filter, exclude_ids, dry_run=dry_run, plan_id=plan_id, key=idempotency_key)
        return BulkCancelSuccess(operation=await _begun(info, request, wait_ms))

    @mutation(
        Role.OPERATOR,
        "Retries runs that ended without success, each by a new run. Small sets are done when this answers, large"
        " ones go on.",
    )
    async def bulk_retry(
        self,
        info: Info,
        filter: Which = None,  # noqa: A002
        exclude_ids: Excluded = None,
        strategy: Annotated[
            RetryStrategy | None, _arg("How the retries begin; needed unless a plan or an earlier operation says it.")
        ] = None,
        failed_of: Annotated[
            strawberry.ID | None, _arg("Retry what failed in this earlier bulk retry; without a filter.")
        ] = None,
        spread_over_ms: Annotated[
            BigInt | None, _arg("Let the retries begin one after the other over so many milliseconds, with jitter.")
        ] = None,
        max_per_second: Annotated[
            float | None, _arg("Let so many retries begin in a second at most, with jitter.")
        ] = None,
        dry_run: DryRun = False,
        plan_id: PlanId = None,
        idempotency_key: IdempotencyKey = None,
        wait_ms: WaitMs = None,
    ) -> BulkRetryResult:
        request = _request(BulkKind.RETRY, filter, exclude_ids, dry_run=dry_run, plan_id=plan_id, key=idempotency_key)
        pace = {"spread_over_ms": spread_over_ms, "max_per_second": max_per_second}
        request = replace(request, strategy=strategy, source_id=failed_of, **pace)  # type: ignore[arg-type]
        return BulkRetrySuccess(operation=await _begun(info, request, wait_ms))

    @mutation(
        Role.OPERATOR,
        "Archives runs that have ended: lists and statistics leave them out. Small sets are done when this answers,"
        " large ones go on.",
    )
    async def bulk_archive(
        self,
        info: Info,
        filter: Which = None,  # noqa: A002
        exclude_ids: Excluded = None,
        dry_run: DryRun = False,
        plan_id: PlanId = None,
        idempotency_key: IdempotencyKey = None,
        wait_ms: WaitMs = None,
    ) -> BulkArchiveResult:
        request = _request(BulkKind.ARCHIVE, filter, exclude_ids, dry_run=dry_run, plan_id=plan_id, key=idempotency_key)
        return BulkArchiveSuccess(operation=await _begun(info, request, wait_ms))

    @mutation(
        Role.OPERATOR,
        "Takes runs out of the archive: those of a filter, which means archived ones unless it says otherwise; or those"
        " that an earlier operation archived and nobody changed since. Small sets are done when this answers, large"
        " ones go on.",
    )
    async def bulk_unarchive(
        self,
        info: Info,
        filter: Which = None,  # noqa: A002
        exclude_ids: Excluded = None,
        operation_id: Annotated[strawberry.ID | None, _arg("Undo this bulk archive; without a filter.")] = None,
        dry_run: DryRun = False,
        plan_id: PlanId = None,
        idempotency_key: IdempotencyKey = None,
        wait_ms: WaitMs = None,
    ) -> BulkUnarchiveResult:
        request = _request(
            BulkKind.UNARCHIVE, filter, exclude_ids, dry_run=dry_run, plan_id=plan_id, key=idempotency_key
        )
        request = replace(request, source_id=operation_id)
        if request.filter is not None and not request.filter.is_empty and filter and not filter.constrains_archived:
            request = replace(request, filter=replace(request.filter, archived=Archived.ONLY))
        return BulkUnarchiveSuccess(operation=await _begun(info, request, wait_ms))

    @mutation(Role.OPERATOR, "Ends a bulk operation, or drops a plan. What was done stays done.")
    async def cancel_bulk_operation(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _arg("The operation.")],  # noqa: A002
    ) -> CancelBulkOperationResult:
        key = await bulk.cancel(info.context, id)
        return CancelBulkOperationSuccess(operation=await _operation(info, key))


def _request(
    kind: BulkKind,
    given: FlowRunFilter | None,
    excluded: list[strawberry.ID] | None,
    *,
    dry_run: bool,
    plan_id: str | None,
    key: str | None,
) -> BulkRequest:
    return BulkRequest(
        kind=kind,
        filter=given.to_domain() if given is not None else None,
        filter_text=given.text() if given is not None else None,
        excluded_ids=check_run_ids("excludeIds", excluded or ()),
        dry_run=dry_run,
        plan_id=plan_id,
        idempotency_key=key,
    )


async def _begun(info: Info, request: BulkRequest, wait_ms: int | None) -> BulkOperation:
    start.check_wait(wait_ms)
    key = await bulk.begin(info.context, request)
    if wait_ms:
        await bulk.wait(info.context, key, wait_ms)
    return await _operation(info, key)


async def _operation(info: Info, key: UUID) -> BulkOperation:
    columns = columns_of(info, BulkOperation, "operation")
    return BulkOperation(row=await bulk.written(info.context, key, columns))
