"""Every error that a client can meet, one class each. The class is the only declaration of the error.

A class states the stable code, the HTTP status and, in its docstring, the default message. Its annotated fields are
sent beside code and message. The enum `ErrorCode`, the error types of mutations and HTTP statuses derive from it.

A mutation returns `UserError`s in its result. `RequestError`s are top-level errors of a GraphQL response. Every other
exception is a fault of the service, and is masked as `InternalError`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, ClassVar
from uuid import UUID

from domain.error_declarations import default_message, fields_of
from domain.problem import Problem

_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


class FlowRunsError(Exception):
    """An error of the service."""

    code: ClassVar[str]
    """The stable code by which clients identify the error."""
    http_status: ClassVar[HTTPStatus]
    """The status of an HTTP response that reports the error. A response of the GraphQL endpoint mostly has 200."""

    def __init_subclass__(cls, code: str | None = None, http_status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        """Declares an error. A class without a code is the base of other errors."""
        if code is not None:
            cls.code, cls.http_status = code, http_status

    def __init__(self, message: str | None = None) -> None:
        self.message = message or default_message(type(self))
        super().__init__(self.message)

    @property
    def details(self) -> Mapping[str, Any]:
        """Returns the values of the error's fields, by name."""
        return {name: getattr(self, name) for name in fields_of(type(self))}


class InternalError(FlowRunsError, code="INTERNAL_ERROR", http_status=HTTPStatus.INTERNAL_SERVER_ERROR):
    """Internal error. The service log has its details under the correlation ID."""

    correlation_id: Annotated[str, "Identifies the log entry with the details."]

    def __init__(self, correlation_id: str) -> None:
        super().__init__(f"Internal error. The service log has its details under the correlation ID {correlation_id}.")
        self.correlation_id = correlation_id


class RequestError(FlowRunsError):
    """The request is not allowed, or has no answer."""


class BadRequestError(RequestError, code="BAD_REQUEST"):
    """The request is not a valid GraphQL request. Correct the document, its variables or the request body."""


class PersistedQueryNotSupportedError(RequestError, code="PERSISTED_QUERY_NOT_SUPPORTED", http_status=HTTPStatus.OK):
    """PersistedQueryNotSupported"""  # Clients of automatic persisted queries look for this exact message.


class PersistedQueryNotFoundError(RequestError, code="PERSISTED_QUERY_NOT_FOUND", http_status=HTTPStatus.OK):
    """PersistedQueryNotFound"""


class DocumentNotTrustedError(RequestError, code="DOCUMENT_NOT_TRUSTED", http_status=HTTPStatus.FORBIDDEN):
    """The service executes trusted documents only, and does not know this one. Add it to FLOWRUNS_TRUSTED_DOCUMENTS."""


class UnauthenticatedError(RequestError, code="UNAUTHENTICATED", http_status=HTTPStatus.UNAUTHORIZED):
    """The request has no valid API key. Send one as `Authorization: Bearer <key>`."""


class ForbiddenError(RequestError, code="FORBIDDEN", http_status=HTTPStatus.FORBIDDEN):
    """The API key has no permission for this. Use a key with a higher role."""


class SignInRefusedError(RequestError, code="SIGN_IN_REFUSED", http_status=HTTPStatus.FORBIDDEN):
    """The identity provider or the service refuses this person. Ask an administrator."""


class SignInExpiredError(RequestError, code="SIGN_IN_EXPIRED"):
    """The sign-in has expired, began in another browser, or was replaced by a later one. Sign in again."""


class IdentityProviderUnavailableError(RequestError, code="IDENTITY_PROVIDER_UNAVAILABLE", http_status=_UNAVAILABLE):
    """The identity provider cannot be reached. Try again later, or sign in with an API key."""


class IdentityProviderInvalidError(RequestError, code="IDENTITY_PROVIDER_INVALID", http_status=HTTPStatus.BAD_GATEWAY):
    """The identity provider sent an unusable response. The service log has the details."""


class DeletedWhileReadError(RequestError, code="DELETED_WHILE_READ", http_status=HTTPStatus.CONFLICT):
    """A run, flow or project was deleted while the request read it. Repeat the request."""


class InvalidIdError(RequestError, code="INVALID_ID"):
    """The ID is invalid. Pass an ID as the API returned it, such as `run_0192f0c1…`."""


class InvalidCursorError(RequestError, code="INVALID_CURSOR"):
    """The cursor is damaged, or belongs to another ordering. Start again without a cursor."""


class InvalidArgumentError(RequestError, code="INVALID_ARGUMENT"):
    """An argument has a value that is not allowed."""


class NumberOutOfRangeError(RequestError, code="NUMBER_OUT_OF_RANGE"):
    """A number is beyond 64 bits, so JSON clients would change it silently. Pass it as a string."""


class QueryTimeoutError(RequestError, code="QUERY_TIMEOUT", http_status=HTTPStatus.GATEWAY_TIMEOUT):
    """The query took longer than its time limit. Narrow its filter, for example by `createdAfter`."""


class SearchOffError(RequestError, code="SEARCH_OFF"):
    """Search is off in this deployment. An operator switches it on by `python -m service search on`."""


class QueryTooComplexError(RequestError, code="QUERY_TOO_COMPLEX"):
    """The query exceeds the limits of one request. Select fewer fields or ask for smaller pages."""


class PayloadTooLargeError(RequestError, code="PAYLOAD_TOO_LARGE", http_status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
    """The request body is larger than the service accepts. Send a smaller one."""


class DatabaseUnavailableError(RequestError, code="DATABASE_UNAVAILABLE", http_status=_UNAVAILABLE):
    """The database is unavailable. Try again later."""


class RunFileNotFoundError(RequestError, code="FILE_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No file with this ID exists, or the API key cannot see it."""


class RunFileGoneError(RequestError, code="FILE_GONE", http_status=HTTPStatus.GONE):
    """The file is no longer in the file store."""


class FileStoreUnavailableError(RequestError, code="FILE_STORE_UNAVAILABLE", http_status=_UNAVAILABLE):
    """The file store is unavailable. Try again later."""


class RangeNotSatisfiableError(RequestError, code="RANGE_NOT_SATISFIABLE", http_status=HTTPStatus(416)):
    """The requested range of bytes lies outside the file."""


class CursorExpiredError(RequestError, code="CURSOR_EXPIRED", http_status=HTTPStatus.GONE):
    """Events after this cursor have been deleted. Query the current state and subscribe without a cursor."""


class NotAcceptableError(RequestError, code="NOT_ACCEPTABLE", http_status=HTTPStatus.NOT_ACCEPTABLE):
    """A subscription needs a stream. Accept text/event-stream, or open a graphql-transport-ws WebSocket at this URL."""


class SlowConsumerError(RequestError, code="SLOW_CONSUMER", http_status=_UNAVAILABLE):
    """The client reads events slower than they occur. Subscribe again with `after: extensions.cursor` to miss none."""

    cursor: Annotated[str, "The cursor of the last event that was sent."]

    def __init__(self, message: str | None = None, *, cursor: str = "") -> None:
        super().__init__(message)
        self.cursor = cursor


class ServiceStoppingError(RequestError, code="SERVICE_STOPPING", http_status=_UNAVAILABLE):
    """The service is stopping. Subscribe again with the last cursor."""


class TooManySubscriptionsError(RequestError, code="TOO_MANY_SUBSCRIPTIONS", http_status=HTTPStatus.TOO_MANY_REQUESTS):
    """The API key has reached its limit of simultaneous subscriptions. End one of them first."""


class TooManyConnectionsError(RequestError, code="TOO_MANY_CONNECTIONS", http_status=HTTPStatus.TOO_MANY_REQUESTS):
    """The API key has reached its limit of simultaneous streaming connections. Close one of them first."""


class RateLimitedError(RequestError, code="RATE_LIMITED", http_status=HTTPStatus.TOO_MANY_REQUESTS):
    """The API key has spent what its rate limit allows. Send the request again after `retryAfter` seconds."""

    retry_after: Annotated[int, "Seconds after which the request can succeed."]

    def __init__(self, retry_after: int, message: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SigningSecretUnreadableError(RequestError, code="SIGNING_SECRET_UNREADABLE", http_status=_UNAVAILABLE):
    """The service cannot read the signing secret of the webhook, because the key that encrypted it is missing."""


class EndpointUrlUnreadableError(RequestError, code="ENDPOINT_URL_UNREADABLE", http_status=_UNAVAILABLE):
    """The service cannot read the URL of the endpoint, because the key that encrypted it is missing."""


class SignatureInvalidError(RequestError, code="SIGNATURE_INVALID", http_status=HTTPStatus.UNAUTHORIZED):
    """The request lacks a valid signature, or its time stamp is more than five minutes from now."""


class MethodNotAllowedError(RequestError, code="METHOD_NOT_ALLOWED", http_status=HTTPStatus.METHOD_NOT_ALLOWED):
    """Webhooks are called by POST. GET starts runs only if the webhook was created with `acceptsGet: true`."""


class MappingFailedError(RequestError, code="MAPPING_FAILED", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The template of the webhook's input does not fit the request."""


class UserError(FlowRunsError):
    """The mutation was refused."""


class ProblemsError(UserError):
    """The document has problems."""

    problems: Annotated[tuple[Problem, ...], "The problems that were found."]

    def __init__(self, problems: Sequence[Problem]) -> None:
        texts = (f"{problem.path}: {problem.message}" if problem.path else problem.message for problem in problems[:5])
        super().__init__("; ".join(texts))
        self.problems = tuple(problems)


class RunNamedError(UserError):
    """An error that another run causes. The error names that run."""

    run_id: UUID

    def __init__(self, run_id: UUID) -> None:
        super().__init__()
        self.run_id = run_id


class ProjectRequiredError(UserError, code="PROJECT_REQUIRED"):
    """An operator key sees every project. Name one with `projectId`."""


class ProjectNotFoundError(UserError, code="PROJECT_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No project with this ID exists, or the API key cannot see it."""


class SettingsInvalidError(ProblemsError, code="SETTINGS_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The new settings are invalid."""


class ApiKeyNotFoundError(UserError, code="API_KEY_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No API key with this ID exists, or the API key in use cannot see it."""


class ApiKeyNotActiveError(UserError, code="API_KEY_NOT_ACTIVE", http_status=HTTPStatus.CONFLICT):
    """The API key was revoked, or has expired. Create a new one."""


class PrivilegeExceededError(UserError, code="PRIVILEGE_EXCEEDED", http_status=HTTPStatus.FORBIDDEN):
    """A key cannot create a key or a token with more rights than its own: role, projects, access to payloads."""


class AccessTokenNotFoundError(UserError, code="ACCESS_TOKEN_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """The text is not an access token of this service, or the API key in use cannot revoke it."""


class TokenKeysMissingError(UserError, code="TOKEN_KEYS_MISSING", http_status=_UNAVAILABLE):
    """The service has no key that signs access tokens and answer links. Its operator must set FLOWRUNS_TOKEN_KEYS."""


class FlowNotFoundError(UserError, code="FLOW_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No flow with this ID exists, or the API key cannot see it."""


class FlowNotPublishedError(UserError, code="FLOW_NOT_PUBLISHED", http_status=HTTPStatus.CONFLICT):
    """The flow has no published version. Publish one with `publishFlowVersion`."""


class FlowDisabledError(UserError, code="FLOW_DISABLED", http_status=HTTPStatus.CONFLICT):
    """The flow is disabled. Enable it with `updateFlow`."""


class FlowNameTakenError(UserError, code="FLOW_NAME_TAKEN", http_status=HTTPStatus.CONFLICT):
    """The project already has a flow with this name. Choose another name."""


class DefinitionInvalidError(ProblemsError, code="DEFINITION_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The flow definition is invalid."""


class InputInvalidError(ProblemsError, code="INPUT_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The input or response does not match its JSON Schema."""


class InputTooLargeError(UserError, code="INPUT_TOO_LARGE", http_status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
    """The JSON value is larger than allowed. Store large data elsewhere and pass its URL."""


class RunNotFoundError(UserError, code="RUN_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No flow run with this ID exists, or the API key cannot see it."""


class RunNotRetryableError(UserError, code="RUN_NOT_RETRYABLE", http_status=HTTPStatus.CONFLICT):
    """Only runs that ended without success can be retried."""


class RetryUnderWayError(RunNamedError, code="RETRY_UNDER_WAY", http_status=HTTPStatus.CONFLICT):
    """A retry of the run is live. Wait for it, or set `force` to start another one beside it."""

    run_id: Annotated[UUID, "The live retry."]


class AlreadyRecoveredError(RunNamedError, code="ALREADY_RECOVERED", http_status=HTTPStatus.CONFLICT):
    """A retry of the run has succeeded. Set `force` to retry the run again."""

    run_id: Annotated[UUID, "The retry that succeeded."]


class RetriedSinceError(RunNamedError, code="RETRIED_SINCE", http_status=HTTPStatus.CONFLICT):
    """The run was retried without success. Retry the last run of the chain instead, or set `force`."""

    run_id: Annotated[UUID, "The last run of the chain of retries."]


class RunNotFinalError(UserError, code="RUN_NOT_FINAL", http_status=HTTPStatus.CONFLICT):
    """Only runs that have ended can be run again."""


class RerunUnderWayError(UserError, code="RERUN_UNDER_WAY", http_status=HTTPStatus.CONFLICT):
    """A rerun of the run is live. Wait for it, or set `force` to start another one beside it."""

    run_id: Annotated[UUID, "The live rerun."]

    def __init__(self, run_id: UUID) -> None:
        super().__init__()
        self.run_id = run_id


class StepNotFailedError(UserError, code="STEP_NOT_FAILED", http_status=HTTPStatus.CONFLICT):
    """Only the step at which a run ended can be completed by hand. This run did not end at a step."""


class RetryLimitReachedError(UserError, code="RETRY_LIMIT_REACHED", http_status=HTTPStatus.CONFLICT):
    """The chain of retries has reached the project's `retryLimit`. Start a new run instead."""


class StepNotReachedError(UserError, code="STEP_NOT_REACHED", http_status=HTTPStatus.CONFLICT):
    """The run has no step with this name at or before the step at which it ended. Choose one of its `steps`."""


class StepDataExpiredError(UserError, code="STEP_DATA_EXPIRED", http_status=HTTPStatus.CONFLICT):
    """The outputs of the run's steps have been deleted. Retry with the strategy ON_LATEST_VERSION instead."""


class QuotaExceededError(RunNamedError, code="QUOTA_EXCEEDED", http_status=HTTPStatus.TOO_MANY_REQUESTS):
    """The project's quota of runs is used up. The run was created as QUOTA_EXCEEDED and can be retried later."""

    run_id: Annotated[UUID, "The run that was created with the status QUOTA_EXCEEDED."]


class RunsNotFinalError(UserError, code="RUNS_NOT_FINAL", http_status=HTTPStatus.CONFLICT):
    """Live runs remain. Cancel them, or wait for their end."""


class ParentNotLiveError(UserError, code="PARENT_NOT_LIVE", http_status=HTTPStatus.CONFLICT):
    """The parent run has ended. Only live runs can start child runs."""


class IdempotencyConflictError(UserError, code="IDEMPOTENCY_CONFLICT", http_status=HTTPStatus.CONFLICT):
    """The idempotency key was already used with other arguments. Use a new key for a new request."""


class RunNotCancellableError(UserError, code="RUN_NOT_CANCELLABLE", http_status=HTTPStatus.CONFLICT):
    """The run has already ended. Only QUEUED, RUNNING and PAUSED runs can be cancelled."""


class RunNotPausedError(UserError, code="RUN_NOT_PAUSED", http_status=HTTPStatus.CONFLICT):
    """The run is not waiting for a response."""


class InputRequestNotFoundError(UserError, code="INPUT_REQUEST_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """The run has no input request with this ID. Its `pendingInputs` lists the open ones."""


class InputAlreadyAnsweredError(UserError, code="INPUT_ALREADY_ANSWERED", http_status=HTTPStatus.CONFLICT):
    """The input request has already been answered."""


class InputExpiredError(UserError, code="INPUT_EXPIRED", http_status=HTTPStatus.CONFLICT):
    """The input request expired before the response arrived."""


class ScheduleNotFoundError(UserError, code="SCHEDULE_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No schedule with this ID exists, or the API key cannot see it."""


class ScheduleInvalidError(ProblemsError, code="SCHEDULE_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The schedule is invalid."""


class WebhookNotFoundError(UserError, code="WEBHOOK_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No webhook with this ID or token exists, or the API key cannot see it."""


class SecretNotFoundError(UserError, code="SECRET_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No secret with this ID exists, or the API key cannot see it."""


class SecretNameTakenError(UserError, code="SECRET_NAME_TAKEN", http_status=HTTPStatus.CONFLICT):
    """The project has a secret with this name for this environment. Set its value with `rotateSecret`."""


class SecretInvalidError(ProblemsError, code="SECRET_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The name or the value of the secret is invalid."""


class SecretKeysMissingError(UserError, code="SECRET_KEYS_MISSING", http_status=_UNAVAILABLE):
    """The service has no key that encrypts secrets. Its operator must set FLOWRUNS_SECRET_KEYS."""


class SavedViewNotFoundError(UserError, code="SAVED_VIEW_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No saved view with this ID exists, or the API key cannot see it."""


class SavedViewNameTakenError(UserError, code="SAVED_VIEW_NAME_TAKEN", http_status=HTTPStatus.CONFLICT):
    """A view with this name exists. Choose another name, or change that view with `updateSavedView`."""


class WebhookInvalidError(ProblemsError, code="WEBHOOK_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The webhook is invalid."""


class EndpointNotFoundError(UserError, code="ENDPOINT_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No endpoint with this ID exists, or the API key cannot see it."""


class EndpointInvalidError(ProblemsError, code="ENDPOINT_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The endpoint is invalid."""


class DeliveryNotFoundError(UserError, code="DELIVERY_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No delivery with this ID exists, or the API key cannot see it."""


class DeliveryNotEndedError(UserError, code="DELIVERY_NOT_ENDED", http_status=HTTPStatus.CONFLICT):
    """Only a delivery that is DELIVERED or FAILED, to an endpoint that exists, can be sent again."""


class AlertNotFoundError(UserError, code="ALERT_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No alert with this ID exists, or the API key cannot see it."""


class AlertInvalidError(ProblemsError, code="ALERT_INVALID", http_status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The alert is invalid."""


class CallbackEndpointMissingError(UserError, code="CALLBACK_ENDPOINT_MISSING", http_status=HTTPStatus.CONFLICT):
    """Nothing signs callbacks of the project. An ADMIN creates their endpoint: `createEndpoint` without `url`."""


class EmptyFilterError(UserError, code="EMPTY_FILTER"):
    """The filter is empty and would match every run. Set at least one field."""


class PlanNotFoundError(UserError, code="PLAN_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No plan with this ID exists, or the API key cannot see it. Create one with `dryRun: true`."""


class PlanMismatchError(UserError, code="PLAN_MISMATCH", http_status=HTTPStatus.CONFLICT):
    """The plan belongs to another mutation. Pass it to the mutation whose dry run created it."""


class PlanExpiredError(UserError, code="PLAN_EXPIRED", http_status=HTTPStatus.CONFLICT):
    """The plan has expired. Create a new one with `dryRun: true`."""


class PlanUsedError(UserError, code="PLAN_USED", http_status=HTTPStatus.CONFLICT):
    """The plan has already been executed or cancelled. Create a new one with `dryRun: true`."""


class BulkOperationNotFoundError(UserError, code="BULK_OPERATION_NOT_FOUND", http_status=HTTPStatus.NOT_FOUND):
    """No bulk operation with this ID exists, or the API key cannot see it."""


class BulkOperationMismatchError(UserError, code="BULK_OPERATION_MISMATCH", http_status=HTTPStatus.CONFLICT):
    """The bulk operation has the wrong kind for this mutation."""


class BulkOperationNotEndedError(UserError, code="BULK_OPERATION_NOT_ENDED", http_status=HTTPStatus.CONFLICT):
    """The bulk operation has not ended yet. Wait for its end."""


class BulkOperationEndedError(UserError, code="BULK_OPERATION_ENDED", http_status=HTTPStatus.CONFLICT):
    """The bulk operation has already ended."""


class TooManyBulkOperationsError(UserError, code="TOO_MANY_BULK_OPERATIONS", http_status=HTTPStatus.TOO_MANY_REQUESTS):
    """The project has reached its limit of active bulk operations. Wait for one of them to end."""
