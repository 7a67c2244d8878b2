"""Every error a client can meet, one class each. The docstring is the default message, the code is stable.

`UserError`s are answers of a mutation, told in its result. `RequestError`s are top-level errors of a GraphQL
response: who asks may not, or asked in a way that has no answer. Anything else is ours, and is masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar
from uuid import UUID


class ErrorCode(StrEnum):
    """Stable codes of errors, in a mutation's result or in `extensions.code`."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    BAD_REQUEST = "BAD_REQUEST"
    INVALID_ID = "INVALID_ID"
    INVALID_CURSOR = "INVALID_CURSOR"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    FILE_NOT_FOUND = "FILE_NOT_FOUND"
    FILE_GONE = "FILE_GONE"
    FILE_STORE_UNAVAILABLE = "FILE_STORE_UNAVAILABLE"
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    TOO_MANY_SUBSCRIPTIONS = "TOO_MANY_SUBSCRIPTIONS"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    SERVICE_STOPPING = "SERVICE_STOPPING"

    PROJECT_REQUIRED = "PROJECT_REQUIRED"
    PROJECT_NOT_FOUND = "PROJECT_NOT_FOUND"
    FLOW_NOT_FOUND = "FLOW_NOT_FOUND"
    FLOW_NOT_PUBLISHED = "FLOW_NOT_PUBLISHED"
    FLOW_DISABLED = "FLOW_DISABLED"
    FLOW_NAME_TAKEN = "FLOW_NAME_TAKEN"
    DEFINITION_INVALID = "DEFINITION_INVALID"
    RUN_NOT_FOUND = "RUN_NOT_FOUND"
    RUN_NOT_RETRYABLE = "RUN_NOT_RETRYABLE"
    RETRY_LIMIT_REACHED = "RETRY_LIMIT_REACHED"
    STEP_DATA_EXPIRED = "STEP_DATA_EXPIRED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    SETTINGS_INVALID = "SETTINGS_INVALID"
    PARENT_NOT_LIVE = "PARENT_NOT_LIVE"
    RUN_NOT_CANCELLABLE = "RUN_NOT_CANCELLABLE"
    RUN_NOT_PAUSED = "RUN_NOT_PAUSED"
    INPUT_REQUEST_NOT_FOUND = "INPUT_REQUEST_NOT_FOUND"
    INPUT_ALREADY_ANSWERED = "INPUT_ALREADY_ANSWERED"
    INPUT_EXPIRED = "INPUT_EXPIRED"
    INPUT_INVALID = "INPUT_INVALID"
    INPUT_TOO_LARGE = "INPUT_TOO_LARGE"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    SCHEDULE_NOT_FOUND = "SCHEDULE_NOT_FOUND"
    SCHEDULE_INVALID = "SCHEDULE_INVALID"
    WEBHOOK_NOT_FOUND = "WEBHOOK_NOT_FOUND"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    EMPTY_FILTER = "EMPTY_FILTER"
    PLAN_NOT_FOUND = "PLAN_NOT_FOUND"
    PLAN_MISMATCH = "PLAN_MISMATCH"
    PLAN_EXPIRED = "PLAN_EXPIRED"
    PLAN_USED = "PLAN_USED"
    BULK_OPERATION_NOT_FOUND = "BULK_OPERATION_NOT_FOUND"
    BULK_OPERATION_MISMATCH = "BULK_OPERATION_MISMATCH"
    BULK_OPERATION_UNDER_WAY = "BULK_OPERATION_UNDER_WAY"
    BULK_OPERATION_ENDED = "BULK_OPERATION_ENDED"
    TOO_MANY_BULK_OPERATIONS = "TOO_MANY_BULK_OPERATIONS"


class FlowRunsError(Exception):
    """Something went wrong."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (self.__class__.__doc__ or "").strip()
        super().__init__(self.message)

    @property
    def details(self) -> Mapping[str, str]:
        """What `extensions` tells beside the code."""
        return {}


class RequestError(FlowRunsError):
    """The request has no answer."""


class UserError(FlowRunsError):
    """The mutation was refused."""


class UnauthenticatedError(RequestError):
    """A valid API key is needed: send it as `Authorization: Bearer <key>`."""

    code = ErrorCode.UNAUTHENTICATED


class ForbiddenError(RequestError):
    """The key in use may not do this."""

    code = ErrorCode.FORBIDDEN


class InvalidIdError(RequestError):
    """This is not an ID."""

    code = ErrorCode.INVALID_ID


class InvalidCursorError(RequestError):
    """The cursor is damaged, or belongs to another ordering: start again without it."""

    code = ErrorCode.INVALID_CURSOR


class InvalidArgumentError(RequestError):
    """An argument has a value that is not allowed."""

    code = ErrorCode.INVALID_ARGUMENT


class QueryTooComplexError(RequestError):
    """The query asks for more than one request may."""

    code = ErrorCode.QUERY_TOO_COMPLEX


class PayloadTooLargeError(RequestError):
    """The request body is too large."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


class DatabaseUnavailableError(RequestError):
    """The database cannot be reached at the moment; try again."""

    code = ErrorCode.DATABASE_UNAVAILABLE


class RunFileNotFoundError(RequestError):
    """There is no such file."""

    code = ErrorCode.FILE_NOT_FOUND


class RunFileGoneError(RequestError):
    """The file is not in the file store any more."""

    code = ErrorCode.FILE_GONE


class FileStoreUnavailableError(RequestError):
    """The file store cannot be reached at the moment; try again."""

    code = ErrorCode.FILE_STORE_UNAVAILABLE


class RangeNotSatisfiableError(RequestError):
    """The file has no such range of bytes."""

    code = ErrorCode.RANGE_NOT_SATISFIABLE


class CursorExpiredError(RequestError):
    """What came after this cursor is no longer kept in full: list, and start anew without it."""

    code = ErrorCode.CURSOR_EXPIRED


class NotAcceptableError(RequestError):
    """A subscription is a stream: accept text/event-stream, or open a WebSocket here for graphql-transport-ws."""

    code = ErrorCode.NOT_ACCEPTABLE


class SlowConsumerError(RequestError):
    """Events came faster than they were taken. Subscribe again with `after: extensions.cursor` to miss none."""

    code = ErrorCode.SLOW_CONSUMER

    def __init__(self, message: str | None = None, *, cursor: str = "") -> None:
        super().__init__(message)
        self.cursor = cursor
        """That of the last event told."""

    @property
    def details(self) -> Mapping[str, str]:
        return {"cursor": self.cursor}


class ServiceStoppingError(RequestError):
    """The service stops. Subscribe again with the last cursor."""

    code = ErrorCode.SERVICE_STOPPING


class TooManySubscriptionsError(RequestError):
    """The key in use has as many subscriptions as it may have at a time."""

    code = ErrorCode.TOO_MANY_SUBSCRIPTIONS


class TooManyConnectionsError(RequestError):
    """The key in use has as many connections for streams as it may have at a time."""

    code = ErrorCode.TOO_MANY_CONNECTIONS


class ProjectRequiredError(UserError):
    """The operator's key sees every project: say which with `projectId`."""

    code = ErrorCode.PROJECT_REQUIRED


class ProjectNotFoundError(UserError):
    """There is no such project."""

    code = ErrorCode.PROJECT_NOT_FOUND


class FlowNotFoundError(UserError):
    """There is no such flow."""

    code = ErrorCode.FLOW_NOT_FOUND


class FlowNotPublishedError(UserError):
    """The flow has no published version yet."""

    code = ErrorCode.FLOW_NOT_PUBLISHED


class FlowDisabledError(UserError):
    """The flow is disabled."""

    code = ErrorCode.FLOW_DISABLED


class FlowNameTakenError(UserError):
    """The project already has a flow of that name."""

    code = ErrorCode.FLOW_NAME_TAKEN


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a document: where it is (`steps[2].input.url`), and what was expected."""

    path: str
    message: str


class ProblemsError(UserError):
    """The document has faults."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{fault.path or 'it'}: {fault.message}" for fault in problems[:5]))
        self.problems = tuple(problems)


class DefinitionInvalidError(ProblemsError):
    """The flow definition has faults."""

    code = ErrorCode.DEFINITION_INVALID


class InputInvalidError(ProblemsError):
    """The input does not fit the JSON Schema that it must."""

    code = ErrorCode.INPUT_INVALID


class InputTooLargeError(UserError):
    """The JSON is larger than allowed."""

    code = ErrorCode.INPUT_TOO_LARGE


class RunNotFoundError(UserError):
    """There is no such flow run."""

    code = ErrorCode.RUN_NOT_FOUND


class RunNotRetryableError(UserError):
    """Only runs that ended without success can be retried."""

    code = ErrorCode.RUN_NOT_RETRYABLE


class RetryLimitReachedError(UserError):
    """The chain of retries has reached the project's limit."""

    code = ErrorCode.RETRY_LIMIT_REACHED


class StepDataExpiredError(UserError):
    """The outputs of the run's steps are no longer kept: retry on the latest version instead."""

    code = ErrorCode.STEP_DATA_EXPIRED


class QuotaExceededError(UserError):
    """The project has used up its quota of runs: the run was written, and can be retried later."""

    code = ErrorCode.QUOTA_EXCEEDED

    def __init__(self, run_key: UUID) -> None:
        super().__init__()
        self.run_key = run_key


class SettingsInvalidError(ProblemsError):
    """The settings cannot be as they would be."""

    code = ErrorCode.SETTINGS_INVALID


class ParentNotLiveError(UserError):
    """The parent run has ended."""

    code = ErrorCode.PARENT_NOT_LIVE


class RunNotCancellableError(UserError):
    """The run has ended."""

    code = ErrorCode.RUN_NOT_CANCELLABLE


class RunNotPausedError(UserError):
    """The run does not wait for an answer."""

    code = ErrorCode.RUN_NOT_PAUSED


class InputRequestNotFoundError(UserError):
    """The run has no such question."""

    code = ErrorCode.INPUT_REQUEST_NOT_FOUND


class InputAlreadyAnsweredError(UserError):
    """The question was answered before."""

    code = ErrorCode.INPUT_ALREADY_ANSWERED


class InputExpiredError(UserError):
    """The time for an answer has passed."""

    code = ErrorCode.INPUT_EXPIRED


class IdempotencyConflictError(UserError):
    """The idempotency key was used before, with other arguments."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT


class ScheduleNotFoundError(UserError):
    """There is no such schedule."""

    code = ErrorCode.SCHEDULE_NOT_FOUND


class ScheduleInvalidError(ProblemsError):
    """The schedule has faults."""

    code = ErrorCode.SCHEDULE_INVALID


class WebhookNotFoundError(UserError):
    """There is no such webhook."""

    code = ErrorCode.WEBHOOK_NOT_FOUND


class SignatureInvalidError(RequestError):
    """The request does not bear the signature that the webhook asks for."""

    code = ErrorCode.SIGNATURE_INVALID


class EmptyFilterError(UserError):
    """The filter says nothing, which would mean every run: say which runs are meant."""

    code = ErrorCode.EMPTY_FILTER


class PlanNotFoundError(UserError):
    """There is no such plan."""

    code = ErrorCode.PLAN_NOT_FOUND


class PlanMismatchError(UserError):
    """The plan is one for another operation."""

    code = ErrorCode.PLAN_MISMATCH


class PlanExpiredError(UserError):
    """The plan has expired: make another dry run."""

    code = ErrorCode.PLAN_EXPIRED


class PlanUsedError(UserError):
    """The plan was carried out before, or cancelled."""

    code = ErrorCode.PLAN_USED


class BulkOperationNotFoundError(UserError):
    """There is no such bulk operation."""

    code = ErrorCode.BULK_OPERATION_NOT_FOUND


class BulkOperationMismatchError(UserError):
    """The bulk operation is of a kind for which this cannot be done."""

    code = ErrorCode.BULK_OPERATION_MISMATCH


class BulkOperationUnderWayError(UserError):
    """The bulk operation has not ended yet."""

    code = ErrorCode.BULK_OPERATION_UNDER_WAY


class BulkOperationEndedError(UserError):
    """The bulk operation has ended."""

    code = ErrorCode.BULK_OPERATION_ENDED


class TooManyBulkOperationsError(UserError):
    """The project has as many bulk operations under way as it may: wait for one to end."""

    code = ErrorCode.TOO_MANY_BULK_OPERATIONS
