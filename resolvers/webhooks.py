"""Webhooks of flows: their management, and the runs that their calls start."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events, webhooks
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import WebhookRow
from domain import ids
from domain.actor import ActorKind, Origin
from domain.audit import AuditAction
from domain.enums import Environment, Role, TriggerMethod
from domain.errors import (
    InvalidArgumentError,
    SignatureInvalidError,
    WebhookNotFoundError,
)
from domain.ids import IdKind
from engine.compiled_flow import FlowCache
from resolvers import authorize, flows, values
from resolvers.context import Context, Viewer
from resolvers.flow_runs import start

MAX_WEBHOOKS = 100
"""Webhooks of one flow."""
DELIVERY_HEADERS = (
    "idempotency-key",
    "webhook-id",  # Standard Webhooks
    "svix-id",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
)
"""Headers that identify a delivery: a repeated delivery has the same value. The first of them that is sent counts."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token of a webhook. It cannot be read again: only its hash is stored."""

    webhook_id: UUID
    token: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a webhook as it was received."""

    body: bytes
    headers: Mapping[str, str]
    """All headers, with names in lower case."""
    input: Mapping[str, Any]
    """The input of the run."""


async def get(context: Context, webhook_id: str, columns: frozenset[str]) -> WebhookRow | None:
    """Returns the webhook `webhook_id`; None if the viewer sees no such webhook.

    Raises:
        InvalidIdError: `webhook_id` is not the ID of a webhook.
    """
    row = await context.loaders.load(webhooks.by_ids, ids.decode(IdKind.WEBHOOK, webhook_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def create(
    context: Context,
    flow_id: str,
    name: str,
    environment: Environment,
    signature_header: str | None,
    signature_secret: str | None,
) -> IssuedToken:
    """Creates a webhook. With `signature_header`, its calls must be signed with `signature_secret`.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError.
    """
    _check_signature_arguments(signature_header, signature_secret)
    flow = await flows.get_existing(context, flow_id, frozenset())
    columns = {
        "project_id": flow.project_id,
        "flow_id": flow.id,
        "name": values.check_text("name", name),
        "environment": environment,
        "signature_header": signature_header.lower() if signature_header is not None else None,
        "signature_secret": signature_secret,
    }
    return await context.database.write(_create, context.origin, columns)


def _create(uow: UnitOfWork, origin: Origin, columns: Mapping[str, Any]) -> IssuedToken:
    if webhooks.count(uow.conn, columns["flow_id"]) >= MAX_WEBHOOKS:
        raise InvalidArgumentError(f"The flow already has {MAX_WEBHOOKS} webhooks, the maximum. Delete one first.")
    issued = IssuedToken(*webhooks.create(uow, columns))
    details = {"name": columns["name"], "signatureHeader": columns["signature_header"]}
    flow_id, project_id = columns["flow_id"], columns["project_id"]
    _record(uow, origin, AuditAction.CREATE_WEBHOOK, issued.webhook_id, project_id, flow_id, details)
    return issued


async def rotate(context: Context, webhook_id: str) -> IssuedToken:
    """Replaces the token of a webhook. The previous token is invalid from now on.

    Raises:
        InvalidIdError, WebhookNotFoundError.
    """
    webhook = await _get_existing(context, webhook_id)
    return await context.database.write(_rotate, context.origin, webhook)


def _rotate(uow: UnitOfWork, origin: Origin, webhook: WebhookRow) -> IssuedToken:
    token = webhooks.rotate(uow, webhook.id)
    if token is None:
        raise WebhookNotFoundError
    details = {"name": webhook.name}
    _record(uow, origin, AuditAction.ROTATE_WEBHOOK, webhook.id, webhook.project_id, webhook.flow_id, details)
    return IssuedToken(webhook.id, token)


async def remove(context: Context, webhook_id: str) -> None:
    """Deletes a webhook. Its runs stay.

    Raises:
        InvalidIdError, WebhookNotFoundError.
    """
    webhook = await _get_existing(context, webhook_id)
    await context.database.write(_remove, context.origin, webhook)


def _remove(uow: UnitOfWork, origin: Origin, webhook: WebhookRow) -> None:
    if not webhooks.remove(uow, webhook.id):
        raise WebhookNotFoundError
    details = {"name": webhook.name}
    _record(uow, origin, AuditAction.DELETE_WEBHOOK, webhook.id, webhook.project_id, webhook.flow_id, details)


def _record(
    uow: UnitOfWork,
    origin: Origin,
    action: AuditAction,
    webhook_id: UUID,
    project_id: UUID,
    flow_id: UUID,
    details: Mapping[str, Any],
) -> None:
    audit_events.record(uow, origin, action, IdKind.WEBHOOK, webhook_id, project_id, flow_id=flow_id, details=details)


async def _get_existing(context: Context, webhook_id: str) -> WebhookRow:
    webhook = await get(context, webhook_id, frozenset({"flow_id", "name"}))
    if webhook is None:
        raise WebhookNotFoundError
    return webhook


def _check_signature_arguments(header: str | None, secret: str | None) -> None:
    if (header is None) is not (secret is None):
        raise InvalidArgumentError("`signatureHeader` and `signatureSecret` must be given together.")
    if header is not None and not _HEADER_NAME.fullmatch(header):
        raise InvalidArgumentError("`signatureHeader` must have 1 to 100 characters: letters, digits and hyphens.")
    if secret is not None:
        values.check_text("signatureSecret", secret)


async def find(database: Database, token: str) -> WebhookRow:
    """Returns the webhook with this token.

    Raises:
        WebhookNotFoundError: no webhook has this token.
    """
    webhook = await database.read(webhooks.by_token, token)
    if webhook is None:
        raise WebhookNotFoundError
    return webhook


def context_of(database: Database, flow_cache: FlowCache, webhook: WebhookRow) -> Context:
    """Returns the context of a webhook's call, which can start runs in the webhook's project."""
    viewer = Viewer(webhook.id, webhook.project_id, Role.OPERATOR, webhook.name, ActorKind.WEBHOOK)
    return Context(database, flow_cache, viewer)


async def receive(context: Context, webhook: WebhookRow, call: Call) -> UUID:
    """Starts the run of a call; returns its ID. For a repeated delivery it is the run of the first one.

    Raises:
        SignatureInvalidError, InvalidArgumentError, FlowDisabledError, FlowNotPublishedError, InputInvalidError,
        InputTooLargeError, IdempotencyConflictError, QuotaExceededError.
    """
    _check_signature(webhook, call)
    webhook_id = ids.encode(IdKind.WEBHOOK, webhook.id)
    delivery = next((call.headers[name] for name in DELIVERY_HEADERS if name in call.headers), None)
    body_hash = hashlib.sha256(call.body).hexdigest()
    request = start.StartRequest(
        flow_id=ids.encode(IdKind.FLOW, webhook.flow_id),
        input=call.input,
        environment=Environment(webhook.environment),
        tags=(),
        metadata={},
        trigger_method=TriggerMethod.WEBHOOK,
        parent_run_id=None,
        fail_parent_on_failure=None,
        external_id=None,
        source=webhook_id,
        # The prefix keeps it apart from the keys of `startRun` and of other webhooks.
        idempotency_key=f"{webhook_id}:{delivery}" if delivery else None,
        # Without the headers: their times and signatures differ between deliveries of the same call.
        identity=[webhook_id, call.input["query"], body_hash],
    )
    return await start.start_run(context, request)


def _check_signature(webhook: WebhookRow, call: Call) -> None:
    if webhook.signature_header is None:
        return
    assert webhook.signature_secret is not None  # it is set together with the header
    sent = call.headers.get(webhook.signature_header, "").removeprefix("sha256=").encode()
    digest = hmac.digest(webhook.signature_secret.encode(), call.body, "sha256")
    as_hex, as_base64 = digest.hex().encode(), base64.b64encode(digest)
    if not (hmac.compare_digest(sent, as_hex) or hmac.compare_digest(sent, as_base64)):
        raise SignatureInvalidError
