"""The errors of mutations as GraphQL types, and what becomes of every other error."""

import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from graphql import GraphQLError

from db.runs import reads
from domain import errors
from schema.enums import ErrorCode
from schema.fields import Info, columns_of, field
from schema.types.flow_run import FlowRun

_logger = logging.getLogger(__name__)


@strawberry.interface(description="Why a mutation was refused; `... on UserError { code message }` catches them all.")
class UserError:
    """Why a mutation was refused."""

    code: ErrorCode = strawberry.field(description="A stable code.")
    message: str = strawberry.field(description="For people.")


@strawberry.type(description="One fault in a document.")
class Problem:
    """One fault in a document."""

    path: str = strawberry.field(description="Where it is, such as `steps[2].input.url`.")
    message: str = strawberry.field(description="What was expected.")


T = TypeVar("T", bound=type[UserError])
ERROR_MAPPINGS: list["_ErrorMapping"] = []
"""Turn the user errors of domain into members of a mutation's union."""


class _ErrorMapping:
    """Turns one kind of error into the GraphQL type that tells it, where the mutation's union has that type."""

    def __init__(self, exception_type: type[errors.UserError], error_type: type[UserError]) -> None:
        self.exception_type = exception_type
        self.error_type = error_type

    def handle(self, exception: errors.UserError, *, field: object, info: Info) -> UserError:
        values: dict[str, Any] = {"code": exception.code, "message": exception.message}
        if isinstance(exception, errors.ProblemsError):
            values["problems"] = [Problem(path=fault.path, message=fault.message) for fault in exception.problems]
        if isinstance(exception, errors.QuotaExceededError):
            values["run_key"] = exception.run_key
        return self.error_type(**values)


def _maps(error: type[errors.UserError]) -> Callable[[T], T]:
    def declare(told: T) -> T:
        declared: T = strawberry.type(told, description=error.__doc__)
        ERROR_MAPPINGS.append(_ErrorMapping(error, declared))
        return declared

    return declare


@_maps(errors.ProjectRequiredError)
class ProjectRequired(UserError):
    __doc__ = errors.ProjectRequiredError.__doc__


@_maps(errors.ProjectNotFoundError)
class ProjectNotFound(UserError):
    __doc__ = errors.ProjectNotFoundError.__doc__


@_maps(errors.FlowNotFoundError)
class FlowNotFound(UserError):
    __doc__ = errors.FlowNotFoundError.__doc__


@_maps(errors.FlowNotPublishedError)
class FlowNotPublished(UserError):
    __doc__ = errors.FlowNotPublishedError.__doc__


@_maps(errors.FlowDisabledError)
class FlowDisabled(UserError):
    __doc__ = errors.FlowDisabledError.__doc__


@_maps(errors.FlowNameTakenError)
class FlowNameTaken(UserError):
    __doc__ = errors.FlowNameTakenError.__doc__


@_maps(errors.DefinitionInvalidError)
class DefinitionInvalid(UserError):
    __doc__ = errors.DefinitionInvalidError.__doc__
    problems: list[Problem] = strawberry.field(description="Every fault found.")


@_maps(errors.InputInvalidError)
class InputInvalid(UserError):
    __doc__ = errors.InputInvalidError.__doc__
    problems: list[Problem] = strawberry.field(description="Every fault found.")


@_maps(errors.InputTooLargeError)
class InputTooLarge(UserError):
    __doc__ = errors.InputTooLargeError.__doc__


@_maps(errors.RunNotFoundError)
class RunNotFound(UserError):
    __doc__ = errors.RunNotFoundError.__doc__


@_maps(errors.RunNotRetryableError)
class RunNotRetryable(UserError):
    __doc__ = errors.RunNotRetryableError.__doc__


@_maps(errors.RetryLimitReachedError)
class RetryLimitReached(UserError):
    __doc__ = errors.RetryLimitReachedError.__doc__


@_maps(errors.StepDataExpiredError)
class StepDataExpired(UserError):
    __doc__ = errors.StepDataExpiredError.__doc__


@_maps(errors.QuotaExceededError)
class QuotaExceeded(UserError):
    __doc__ = errors.QuotaExceededError.__doc__
    run_key: strawberry.Private[UUID]

    @field("The run that was written as QUOTA_EXCEEDED.")
    async def run(self, info: Info) -> FlowRun:
        columns = columns_of(info, FlowRun)
        return FlowRun(row=await info.context.loaders.load_existing(reads.by_ids, self.run_key, columns))


@_maps(errors.SettingsInvalidError)
class SettingsInvalid(UserError):
    __doc__ = errors.SettingsInvalidError.__doc__
    problems: list[Problem] = strawberry.field(description="Every fault found.")


@_maps(errors.ParentNotLiveError)
class ParentNotLive(UserError):
    __doc__ = errors.ParentNotLiveError.__doc__


@_maps(errors.RunNotCancellableError)
class RunNotCancellable(UserError):
    __doc__ = errors.RunNotCancellableError.__doc__


@_maps(errors.RunNotPausedError)
class RunNotPaused(UserError):
    __doc__ = errors.RunNotPausedError.__doc__


@_maps(errors.InputRequestNotFoundError)
class InputRequestNotFound(UserError):
    __doc__ = errors.InputRequestNotFoundError.__doc__


@_maps(errors.InputAlreadyAnsweredError)
class InputAlreadyAnswered(UserError):
    __doc__ = errors.InputAlreadyAnsweredError.__doc__


@_maps(errors.InputExpiredError)
class InputExpired(UserError):
    __doc__ = errors.InputExpiredError.__doc__


@_maps(errors.IdempotencyConflictError)
class IdempotencyConflict(UserError):
    __doc__ = errors.IdempotencyConflictError.__doc__


@_maps(errors.ScheduleNotFoundError)
class ScheduleNotFound(UserError):
    __doc__ = errors.ScheduleNotFoundError.__doc__


@_maps(errors.ScheduleInvalidError)
class ScheduleInvalid(UserError):
    __doc__ = errors.ScheduleInvalidError.__doc__
    problems: list[Problem] = strawberry.field(description="Every fault found.")


@_maps(errors.WebhookNotFoundError)
class WebhookNotFound(UserError):
    __doc__ = errors.WebhookNotFoundError.__doc__


@_maps(errors.EmptyFilterError)
class EmptyFilter(UserError):
    __doc__ = errors.EmptyFilterError.__doc__


@_maps(errors.PlanNotFoundError)
class PlanNotFound(UserError):
    __doc__ = errors.PlanNotFoundError.__doc__


@_maps(errors.PlanMismatchError)
class PlanMismatch(UserError):
    __doc__ = errors.PlanMismatchError.__doc__


@_maps(errors.PlanExpiredError)
class PlanExpired(UserError):
    __doc__ = errors.PlanExpiredError.__doc__


@_maps(errors.PlanUsedError)
class PlanUsed(UserError):
    __doc__ = errors.PlanUsedError.__doc__


@_maps(errors.BulkOperationNotFoundError)
class BulkOperationNotFound(UserError):
    __doc__ = errors.BulkOperationNotFoundError.__doc__


@_maps(errors.BulkOperationMismatchError)
class BulkOperationMismatch(UserError):
    __doc__ = errors.BulkOperationMismatchError.__doc__


@_maps(errors.BulkOperationUnderWayError)
class BulkOperationUnderWay(UserError):
    __doc__ = errors.BulkOperationUnderWayError.__doc__


@_maps(errors.BulkOperationEndedError)
class BulkOperationEnded(UserError):
    __doc__ = errors.BulkOperationEndedError.__doc__


@_maps(errors.TooManyBulkOperationsError)
class TooManyBulkOperations(UserError):
    __doc__ = errors.TooManyBulkOperationsError.__doc__


def to_client_error(error: GraphQLError) -> GraphQLError:
    """`error` as a client may see it, with a code. Ours are masked: the client gets a number that stands in the log."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, errors.FlowRunsError):
        return _copy(error, cause.message, {"code": cause.code.value, **cause.details})
    if cause is None or isinstance(cause, GraphQLError) or (error.path is None and isinstance(cause, ValueError)):
        # The document or its variables are at fault, and graphql-core says how; a number may have too many digits.
        return _copy(error, error.message, {"code": ErrorCode.BAD_REQUEST.value})
    number = secrets.token_hex(8)
    _logger.error("internal error", extra={"correlation_id": number, "path": error.path}, exc_info=cause)
    message = f"Something went wrong in the service. Its log has more under {number}."
    return _copy(error, message, {"code": ErrorCode.INTERNAL_ERROR.value, "correlationId": number})


def _copy(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )
