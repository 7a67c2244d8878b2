"""Handles calls of webhooks: answers handshakes, and starts runs.

A sender repeats a delivery until it has got a success. So a repeated delivery finds its run while that is live or has
succeeded, and retries it when it has failed. The sender's ID of a delivery counts together with its body, because some
senders give one ID to several events. An `Idempotency-Key` alone identifies a call, whatever its body is.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from db.core.database import Database
from db.queue import quota
from db.row_types import WebhookRow
from db.runs import reads, retries
from domain import ids, json_codec
from domain.actor import ActorKind
from domain.enums import Environment, RetryStrategy, Role, RunStatus, TriggerMethod
from domain.errors import (
    AlreadyRecoveredError,
    IdempotencyConflictError,
    MappingFailedError,
    QuotaExceededError,
    RetryUnderWayError,
    RunNotRetryableError,
    SignatureInvalidError,
    SigningSecretUnreadableError,
    StepDataExpiredError,
)
from domain.http import webhook_signatures
from domain.ids import IdKind
from domain.runs.state_machine import LIVE
from domain.time import clock
from engine.compiled_flow import FlowCache
from engine.errors import StepError
from engine.secrets.key_ring import KeyLostError, KeyRing
from engine.secrets.signing import signing_secret
from engine.templates import Template, compile_condition, compile_value
from resolvers.context import Context, Viewer
from resolvers.flow_runs import retry, start
from resolvers.flow_runs.retry import RetryRequest
from resolvers.triggers.webhooks import INPUT_NAMES, RESPONSE_NAMES

_logger = logging.getLogger(__name__)

IDEMPOTENCY_KEY = "idempotency-key"
"""The header by which a caller marks repetitions of a call."""
DELIVERY_HEADERS = (
    "webhook-id",  # Standard Webhooks
    "svix-id",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
)
"""Headers in which senders identify a delivery. The first of them that has a value counts."""
_MAX_KEY = 120
"""Characters up to which an `Idempotency-Key` is stored unchanged; longer ones are hashed."""
_DEFAULT_STATUS = 200
_MIN_STATUS, _MAX_STATUS = 200, 599

_DELIVERED = LIVE | {RunStatus.SUCCEEDED, RunStatus.STOPPED}
"""Statuses of a run whose delivery is not repeated. A stopped run stays stopped."""
_COLUMNS = frozenset({"status", "flow_version_id", "project_id"})


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a webhook as it was received."""

    body: bytes
    headers: Mapping[str, str]
    """All headers, with names in lower case."""
    request: Mapping[str, Any]
    """The request in the form that templates and runs get: method, query, headers and body."""


class Delivery(NamedTuple):
    """The result of a call."""

    run_id: UUID
    is_duplicate: bool = False
    """True if the run was started by an earlier call."""
    retry_of: UUID | None = None
    """The failed run of an earlier call that this run retries."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response that a webhook's template renders."""

    status: int
    headers: Mapping[str, str]
    body: Any


def context_of(database: Database, flow_cache: FlowCache, webhook: WebhookRow) -> Context:
    """Returns the context for a webhook's call, which can start runs in the webhook's project."""
    viewer = Viewer(webhook.id, webhook.project_id, Role.OPERATOR, webhook.name, ActorKind.WEBHOOK)
    return Context(database, flow_cache, viewer)


def check_signature(webhook: WebhookRow, headers: Mapping[str, str], body: bytes, keys: KeyRing) -> None:
    """Checks that a call is signed as the webhook requires. `keys` decrypt its signing secret.

    Raises:
        SignatureInvalidError
        SigningSecretUnreadableError: the key that encrypted the signing secret is missing.
    """
    if webhook.signature_header is None:
        return
    try:
        secret = signing_secret(keys, webhook)
    except KeyLostError as error:
        message = (
            f"The signing secret of the webhook cannot be read: the key {error.key_id} is missing in"
            " FLOWRUNS_SECRET_KEYS. Send the call again when the operator of the service has added it."
        )
        raise SigningSecretUnreadableError(message) from None
    assert secret is not None  # It is set together with the header.
    if not webhook_signatures.is_valid(webhook.signature_header, secret, headers, body, clock.now()):
        raise SignatureInvalidError


async def receive(context: Context, webhook: WebhookRow, call: Call) -> Delivery:
    """Starts the run of a call, or finds or retries the run of an earlier delivery.

    Raises:
        MappingFailedError, InvalidArgumentError, FlowDisabledError, FlowNotPublishedError, InputInvalidError,
        InputTooLargeError, IdempotencyConflictError, QuotaExceededError, RetryLimitReachedError.
    """
    request = _start_request(webhook, call)
    if request.idempotency_key is not None:
        earlier = await context.database.read(reads.by_idempotency_key, webhook.project_id, request.idempotency_key)
        if earlier is not None:
            if earlier.request_hash != start.request_hash(request):
                raise IdempotencyConflictError
            redelivered = await _redelivered(context, earlier.id)
            if redelivered is not None:
                return redelivered
    return Delivery(await start.start_run(context, request))


def _start_request(webhook: WebhookRow, call: Call) -> start.StartRequest:
    webhook_id = ids.encode(IdKind.WEBHOOK, webhook.id)
    body_hash = hashlib.sha256(call.body).hexdigest()
    key = _delivery_key(call.headers, body_hash)
    return start.StartRequest(
        flow_id=ids.encode(IdKind.FLOW, webhook.flow_id),
        input=_run_input(webhook, call),
        environment=Environment(webhook.environment),
        tags=(),
        metadata={},
        trigger_method=TriggerMethod.WEBHOOK,
        parent_run_id=None,
        fail_parent_on_failure=None,
        external_id=None,
        source=webhook_id,
        # The prefix separates the key from the keys of `startRun` and of other webhooks.
        idempotency_key=f"{webhook_id}:{key}" if key else None,
        # Headers are excluded: their times and signatures differ between deliveries of the same call.
        identity=[webhook_id, call.request["query"], body_hash],
    )


def _delivery_key(headers: Mapping[str, str], body_hash: str) -> str | None:
    """Returns the key that repeated deliveries of a call share; None if the call has none."""
    if key := headers.get(IDEMPOTENCY_KEY, "").strip():
        return key if len(key) <= _MAX_KEY else _hashed("key", key)
    sent = ((name, headers.get(name, "").strip()) for name in DELIVERY_HEADERS)
    delivery = next(((name, value) for name, value in sent if value), None)
    return None if delivery is None else _hashed(*delivery, body_hash)


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


async def _redelivered(context: Context, first_id: UUID) -> Delivery | None:
    """Returns the last run of the chain that the first delivery began, or a new retry of it if it has failed.

    Returns None if the quota refused the run: the delivery then counts as new.

    Raises:
        QuotaExceededError: the quota refused the last retry, and is still used up.
    """
    last_id = await context.database.read(retries.newest_retry, first_id)
    last = await context.loaders.load_existing(reads.by_ids, last_id, _COLUMNS)
    if last.status in _DELIVERED:
        return Delivery(last_id, is_duplicate=True)
    if last.status == RunStatus.QUOTA_EXCEEDED:
        if last_id == first_id:
            return None
        if not await context.database.read(quota.is_left, last.project_id):
            # Another refused retry would only use up the limit of retries.
            raise QuotaExceededError(last_id)
    shown_id = ids.encode(IdKind.RUN, last_id)
    try:
        try:
            # Steps that have succeeded are not executed again.
            strategy = await _strategy(context, last.flow_version_id, last_id)
            retry_id = await retry.retry(context, RetryRequest(run_id=shown_id, strategy=strategy))
        except StepDataExpiredError:
            request = RetryRequest(run_id=shown_id, strategy=RetryStrategy.ON_LATEST_VERSION)
            retry_id = await retry.retry(context, request)
    except (RetryUnderWayError, AlreadyRecoveredError) as error:
        return Delivery(error.run_id, is_duplicate=True)
    except (RunNotRetryableError, StepDataExpiredError):
        # In the meantime the run succeeded, or a retry of it was started; or its input was erased.
        return Delivery(last_id, is_duplicate=True)
    return Delivery(retry_id, retry_of=last_id)


async def _strategy(context: Context, version_id: UUID, run_id: UUID) -> RetryStrategy:
    """Returns the strategy to retry a failed delivery: if a newer version was published to correct it, it starts
    over."""
    judgement = await context.loaders.load_existing(retries.judgements_by_runs, run_id)
    is_latest = judgement.published_version_id == version_id
    return RetryStrategy.FROM_FAILED_STEP if is_latest else RetryStrategy.ON_LATEST_VERSION


def _run_input(webhook: WebhookRow, call: Call) -> Any:
    if webhook.input_template is None:
        return call.request
    try:
        return _compiled(webhook.input_template, INPUT_NAMES).render({"request": call.request})
    except StepError as error:
        raise MappingFailedError(f"The template of the webhook's input does not fit the request: {error}") from None


def handshake(webhook: WebhookRow, request: Mapping[str, Any]) -> Answer | None:
    """Returns the response to a call that the webhook answers without a run; None if the call starts one.

    Raises:
        MappingFailedError: the template does not fit the request.
    """
    if webhook.response_template is None:
        return None
    given = json_codec.decode(webhook.response_template)
    if "when" not in given:
        return None
    try:
        holds = _compiled_condition(given["when"]).render({"request": request})
        return _answer(webhook.response_template, {"request": request, "run": {}}) if holds else None
    except StepError as error:
        raise MappingFailedError(f"The template of the webhook's response does not fit the request: {error}") from None


def response(webhook: WebhookRow, request: Mapping[str, Any], run: Mapping[str, Any]) -> Answer | None:
    """Returns the response that the webhook's template renders for a call that has started `run`; None without a
    template."""
    if webhook.response_template is None or "when" in json_codec.decode(webhook.response_template):
        return None
    try:
        return _answer(webhook.response_template, {"request": request, "run": run})
    except StepError as error:
        # The run has been started, so an error would make the sender repeat the delivery.
        webhook_id = ids.encode(IdKind.WEBHOOK, webhook.id)
        _logger.warning("template of response failed", extra={"webhook_id": webhook_id, "error": str(error)})
        return None


def _answer(text: str, scope: Mapping[str, Any]) -> Answer:
    rendered = _compiled(text, RESPONSE_NAMES).render(scope)
    status = rendered.get("status", _DEFAULT_STATUS)
    if isinstance(status, bool) or not isinstance(status, int) or not _MIN_STATUS <= status <= _MAX_STATUS:
        message = f"`status` must be a number from {_MIN_STATUS} to {_MAX_STATUS}"
        raise StepError("TEMPLATE_ERROR", message, retryable=False)
    headers = rendered.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise StepError("TEMPLATE_ERROR", "`headers` must be an object of texts", retryable=False)
    return Answer(status, headers, rendered.get("body"))


@lru_cache(maxsize=512)
def _compiled(text: str, names: frozenset[str]) -> Template:
    """Returns the compiled template whose JSON is `text`. The template of a webhook never changes, so entries never
    become stale."""
    value = json_codec.decode(text)
    if names is RESPONSE_NAMES:
        value = {name: part for name, part in value.items() if name != "when"}
    return compile_value(value, names=names)


@lru_cache(maxsize=512)
def _compiled_condition(condition: bool | str) -> Template:
    return compile_condition(condition, INPUT_NAMES)
