"""Mutations of many runs at once."""

from dataclasses import replace
from typing import Annotated, Any, TypeVar
from uuid import UUID

import strawberry

from db.bulk import reads
from domain.bulk import BulkKind
from domain.errors import (
    BulkOperationEndedError,
    BulkOperationMismatchError,
    BulkOperationNotEndedError,
    BulkOperationNotFoundError,
    EmptyFilterError,
    IdempotencyConflictError,
    PlanExpiredError,
    PlanMismatchError,
    PlanNotFoundError,
    PlanUsedError,
    ProjectNotFoundError,
    TooManyBulkOperationsError,
)
from domain.runs.filter_field import Archived
from resolvers import bulk
from resolvers.bulk import BulkRequest
from resolvers.flow_runs import waiting
from schema.arguments import argument, optional
from schema.enums import RetryStrategy, Role
from schema.fields import Info, columns_of
from schema.inputs.filters import FlowRunFilter, check_run_ids
from schema.mutations.declaration import mutation, result, success
from schema.scalars import BigInt
from schema.types.bulk_operation import BulkOperation

_WHEN_IT_ENDS = (
    f" Up to {bulk.MAX_SYNCHRONOUS_RUNS} runs are processed before the mutation answers; a larger operation continues"
    " in the background."
)


@strawberry.input
class BulkArguments:
    """The arguments of every bulk mutation."""

    filter: FlowRunFilter | None = optional(
        "Selects the runs. With `ids`, all its other fields are ignored. A filter that restricts nothing is "
        "refused with EMPTY_FILTER. Required unless an earlier operation or a plan selects the runs."
    )
    exclude_ids: list[strawberry.ID] | None = optional("Runs to leave out, even if the filter names them.")
    dry_run: bool = optional(
        "True: changes no run, and returns a planned operation. Its `plan` says what would happen, and has a `planId`.",
        default=False,
    )
    plan_id: strawberry.ID | None = optional(
        "Executes the plan of a dry run, on exactly the runs that it found. Excludes all other arguments except "
        "`waitMs` and the pace of retries."
    )
    idempotency_key: str | None = optional(
        "Identifies repetitions of a request: only the first request with a key starts or plans an operation; "
        "the others return it. Keys belong to a project. 1 to 200 characters. Default: every request starts an "
        "operation."
    )
    wait_ms: int | None = optional(
        f"Waits for the end of the operation before answering: milliseconds, at most {waiting.MAX_WAIT_MS:,}. By"
        " default the mutation does not wait for a large operation."
    )

    def request(self, kind: BulkKind, **more: Any) -> BulkRequest:
        """Returns the domain's request for an operation of this kind.

        Raises:
            InvalidIdError, InvalidArgumentError.
        """
        return BulkRequest(
            kind=kind,
            filter=self.filter.to_domain() if self.filter is not None else None,
            filter_text=self.filter.text() if self.filter is not None else None,
            excluded_ids=check_run_ids("excludeIds", self.exclude_ids or ()),
            dry_run=self.dry_run,
            plan_id=self.plan_id,
            idempotency_key=self.idempotency_key,
            **more,
        )


@strawberry.input
class BulkRetryArguments(BulkArguments):
    """The arguments of `bulkRetry`."""

    strategy: RetryStrategy | None = optional(
        "Where the retries start. Required, except with `planId` or `failedOf`, where the default is the "
        "earlier strategy."
    )
    step_name: str | None = optional(
        "The step at which retries with the strategy FROM_STEP start. Runs that did not reach a step of this "
        "name are skipped as STEP_NOT_REACHED."
    )
    failed_of: strawberry.ID | None = optional(
        "Retries the runs that failed in this earlier bulk retry, instead of those of a filter."
    )
    spread_over_ms: BigInt | None = optional(
        "Milliseconds over which the starts of the retries are spread, with jitter; at most "
        f"{bulk.MAX_SPREAD_MS:,}. Default: all retries are due at once."
    )
    max_per_second: float | None = optional(
        f"The largest number of retries that start per second, with jitter: 0.001 to {bulk.MAX_PER_SECOND:,}. "
        "Default: no limit. Together with `spreadOverMs`, the slower pace counts."
    )


@strawberry.input
class BulkUnarchiveArguments(BulkArguments):
    """The arguments of `bulkUnarchive`."""

    operation_id: strawberry.ID | None = optional(
        "Undoes this bulk archive, instead of unarchiving the runs of a filter. Runs that were archived again "
        "since are skipped."
    )


@strawberry.interface(description="What every mutation of a bulk operation returns if it succeeds.")
class BulkOperationSuccess:
    """The success of every mutation of a bulk operation. Each mutation has a class of its own below."""

    operation: BulkOperation = strawberry.field(description="The operation in its current state.")


@success
class BulkCancelSuccess(BulkOperationSuccess):
    """The bulk cancel was started or planned."""


@success
class BulkRetrySuccess(BulkOperationSuccess):
    """The bulk retry was started or planned."""


@success
class BulkArchiveSuccess(BulkOperationSuccess):
    """The bulk archive was started or planned."""


@success
class BulkUnarchiveSuccess(BulkOperationSuccess):
    """The bulk unarchive was started or planned."""


@success
class BulkEraseSuccess(BulkOperationSuccess):
    """The bulk erase was started or planned."""


@success
class BulkDeleteSuccess(BulkOperationSuccess):
    """The bulk delete was started or planned."""


@success
class CancelBulkOperationSuccess(BulkOperationSuccess):
    """The bulk operation was cancelled."""


_Error = (
    EmptyFilterError
    | ProjectNotFoundError
    | PlanNotFoundError
    | PlanMismatchError
    | PlanExpiredError
    | PlanUsedError
    | TooManyBulkOperationsError
    | IdempotencyConflictError
)
_SourceError = BulkOperationNotFoundError | BulkOperationMismatchError | BulkOperationNotEndedError

_RESULT = "The operation, or an error that says why it was not started."
BulkCancelResult = Annotated[BulkCancelSuccess | _Error, result("BulkCancelResult", _RESULT)]
BulkRetryResult = Annotated[BulkRetrySuccess | _Error | _SourceError, result("BulkRetryResult", _RESULT)]
BulkArchiveResult = Annotated[BulkArchiveSuccess | _Error, result("BulkArchiveResult", _RESULT)]
BulkUnarchiveResult = Annotated[BulkUnarchiveSuccess | _Error | _SourceError, result("BulkUnarchiveResult", _RESULT)]
BulkEraseResult = Annotated[BulkEraseSuccess | _Error, result("BulkEraseResult", _RESULT)]
BulkDeleteResult = Annotated[BulkDeleteSuccess | _Error, result("BulkDeleteResult", _RESULT)]
CancelBulkOperationResult = Annotated[
    CancelBulkOperationSuccess | BulkOperationNotFoundError | BulkOperationEndedError,
    result("CancelBulkOperationResult", "The operation, or an error that says why it was not cancelled."),
]


S = TypeVar("S", bound=BulkOperationSuccess)


@strawberry.type(description="Mutations of many runs.")
class BulkMutation:
    """The bulk mutations, which are part of the root type."""

    @mutation(Role.OPERATOR, f"Cancels live runs and all their live descendants.{_WHEN_IT_ENDS}", BulkArguments)
    async def bulk_cancel(self, info: Info, arguments: BulkArguments) -> BulkCancelResult:
        return await _begin(info, BulkCancelSuccess, arguments, arguments.request(BulkKind.CANCEL))

    @mutation(
        Role.OPERATOR,
        f"Retries runs that ended without success, each by a new run.{_WHEN_IT_ENDS}",
        BulkRetryArguments,
    )
    async def bulk_retry(self, info: Info, arguments: BulkRetryArguments) -> BulkRetryResult:
        request = arguments.request(
            BulkKind.RETRY,
            strategy=arguments.strategy,
            step_name=arguments.step_name,
            source_id=arguments.failed_of,
            spread_over_ms=arguments.spread_over_ms,
            max_per_second=arguments.max_per_second,
        )
        return await _begin(info, BulkRetrySuccess, arguments, request)

    @mutation(
        Role.OPERATOR,
        f"Archives runs that have ended: by default, lists and statistics leave them out.{_WHEN_IT_ENDS}",
        BulkArguments,
    )
    async def bulk_archive(self, info: Info, arguments: BulkArguments) -> BulkArchiveResult:
        return await _begin(info, BulkArchiveSuccess, arguments, arguments.request(BulkKind.ARCHIVE))

    @mutation(
        Role.OPERATOR,
        "Unarchives runs: the archived runs that match the filter (unless it sets `archived`), or the runs that "
        f"an earlier operation archived.{_WHEN_IT_ENDS}",
        BulkUnarchiveArguments,
    )
    async def bulk_unarchive(self, info: Info, arguments: BulkUnarchiveArguments) -> BulkUnarchiveResult:
        request = arguments.request(BulkKind.UNARCHIVE, source_id=arguments.operation_id)
        where = request.filter
        if where is not None and not where.is_empty and arguments.filter and not arguments.filter.constrains_archived:
            request = replace(request, filter=replace(where, archived=Archived.ONLY))
        return await _begin(info, BulkUnarchiveSuccess, arguments, request)

    @mutation(
        Role.ADMIN,
        "Erases the payloads of runs that have ended, and of their descendants: inputs, outputs, metadata, tags,"
        " answers, texts of errors, logs and files. IDs, statuses, times and counts stay. Cannot be undone. The"
        f" operation keeps of its filter only which fields it had, and IDs.{_WHEN_IT_ENDS}",
        BulkArguments,
    )
    async def bulk_erase(self, info: Info, arguments: BulkArguments) -> BulkEraseResult:
        return await _begin(info, BulkEraseSuccess, arguments, arguments.request(BulkKind.ERASE))

    @mutation(
        Role.ADMIN,
        "Deletes runs that have ended, and their descendants. Cannot be undone. Outcomes keep the IDs of the"
        f" runs.{_WHEN_IT_ENDS}",
        BulkArguments,
    )
    async def bulk_delete(self, info: Info, arguments: BulkArguments) -> BulkDeleteResult:
        return await _begin(info, BulkDeleteSuccess, arguments, arguments.request(BulkKind.DELETE))

    @mutation(
        Role.OPERATOR,
        "Cancels a bulk operation: no further runs are changed, and changed runs stay changed. A cancelled plan "
        "can no longer be executed.",
    )
    async def cancel_bulk_operation(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The operation.")],  # noqa: A002
    ) -> CancelBulkOperationResult:
        return await _success(info, CancelBulkOperationSuccess, await bulk.cancel(info.context, id))


async def _begin(info: Info, success_type: type[S], arguments: BulkArguments, request: BulkRequest) -> S:
    waiting.check_wait(arguments.wait_ms)
    key = await bulk.begin(info.context, request)
    if arguments.wait_ms:
        await bulk.wait_for_end(info.context, key, arguments.wait_ms)
    return await _success(info, success_type, key)


async def _success(info: Info, success_type: type[S], key: UUID) -> S:
    columns = columns_of(info, BulkOperation, "operation")
    row = await info.context.loaders.load_written(reads.by_ids, key, columns)
    return success_type(operation=BulkOperation(row=row))
