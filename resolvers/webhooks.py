"""Reads and writes of webhooks, and the runs that their deliveries start."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import flows, webhooks
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import WebhookRow
from domain import ids
from domain.enums import Environment, Role, TriggerMethod
from domain.errors import (
    FlowNotFoundError,
    InvalidArgumentError,
    SignatureInvalidError,
    WebhookNotFoundError,
)
from domain.ids import IdKind
from engine.compiled_flow import FlowCache
from resolvers import authorize, start
from resolvers.context import Context, Viewer

MAX_WEBHOOKS = 100
"""Webhooks per flow."""
DELIVERY_HEADERS = (
    "idempotency-key",
    "webhook-id",  # Standard Webhooks
    "svix-id",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
)
"""Headers that identify a delivery and its repetitions. The first one present counts."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of deliveries: the HMAC-SHA256 of the body, in a header."""

    header: str
    secret: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A webhook with its token, which is shown once."""

    key: UUID
    token: str


@dataclass(frozen=True, slots=True)
class Call:
    """A delivery as it was received."""

    body: bytes
    headers: Mapping[str, str]
    """All headers by lower-case name."""
    input: Mapping[str, Any]
    """The input of the run."""


async def get(context: Context, webhook_id: str, columns: frozenset[str]) -> WebhookRow | None:
    """Returns the webhook `webhook_id`; None if the viewer sees no such webhook.

    Raises:
        InvalidIdError: `webhook_id` is not the ID of a webhook.
    """
    row = await context.loaders.load(webhooks.by_ids, ids.decode(IdKind.WEBHOOK, webhook_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def written(context: Context, key: UUID, columns: frozenset[str]) -> WebhookRow:
    """Returns a webhook after a change. It bypasses the loaders, which may hold the row from before."""
    return (await context.database.read(webhooks.by_ids, [key], columns))[key]


async def create(
    context: Context, flow_id: str, name: str, environment: Environment, signature: Signature | None
) -> Issued:
    """Creates a webhook.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError.
    """
    flow = await context.loaders.load(flows.by_ids, ids.decode(IdKind.FLOW, flow_id), frozenset())
    if flow is None or not authorize.can_see(context.viewer, flow):
        raise FlowNotFoundError
    values = {
        "project_id": flow.project_id,
        "flow_id": flow.id,
        "name": start.checked_word("name", name),
        "environment": environment,
        **_signature_values(signature),
    }

    def work(uow: UnitOfWork) -> Issued:
        if webhooks.count(uow.conn, flow.id) >= MAX_WEBHOOKS:
            raise InvalidArgumentError(f"A flow has at most {MAX_WEBHOOKS} webhooks.")
        return Issued(*webhooks.create(uow, values))

    return await context.database.write(work)


async def rotate(context: Context, webhook_id: str) -> Issued:
    """Gives a webhook a new token; the old one is invalid at once.

    Raises:
        InvalidIdError, WebhookNotFoundError.
    """
    row = await _existing(context, webhook_id)
    token = await context.database.write(webhooks.rotate, row.id)
    if token is None:
        raise WebhookNotFoundError
    return Issued(row.id, token)


async def remove(context: Context, webhook_id: str) -> None:
    """Deletes a webhook; the runs that it started stay.

    Raises:
        InvalidIdError, WebhookNotFoundError.
    """
    row = await _existing(context, webhook_id)
    if not await context.database.write(webhooks.remove, row.id):
        raise WebhookNotFoundError


async def find(database: Database, token: str) -> WebhookRow:
    """Returns the webhook with this token.

    Raises:
        WebhookNotFoundError: no webhook has this token.
    """
    row = await database.read(webhooks.by_token, token)
    if row is None:
        raise WebhookNotFoundError
    return row


def context_of(database: Database, flow_cache: FlowCache, webhook: WebhookRow) -> Context:
    """Returns the context of a webhook, which may start runs in its project."""
    viewer = Viewer(webhook.id, webhook.project_id, Role.OPERATOR, f"webhook {webhook.name}")
    return Context(database, flow_cache, viewer)


async def receive(context: Context, webhook: WebhookRow, call: Call) -> UUID:
    """Starts the run of a delivery, or finds the one that an earlier repetition started; returns its key.

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
        # Prefixed, so that it differs from keys of `startRun` and of other webhooks.
        idempotency_key=f"{webhook_id}:{delivery}" if delivery else None,
        # Without the headers: a repeated delivery has other times and signatures.
        same=[webhook_id, call.input["query"], body_hash],
    )
    return await start.start_run(context, request)


def _signature_values(signature: Signature | None) -> dict[str, str | None]:
    if signature is None:
        return {"signature_header": None, "signature_secret": None}
    if not _HEADER_NAME.fullmatch(signature.header):
        raise InvalidArgumentError("`signatureHeader` must be the name of a header.")
    secret = start.checked_word("signatureSecret", signature.secret)
    return {"signature_header": signature.header.lower(), "signature_secret": secret}


def _check_signature(webhook: WebhookRow, call: Call) -> None:
    if webhook.signature_header is None:
        return
    assert webhook.signature_secret is not None  # it is set together with the header
    shown = call.headers.get(webhook.signature_header, "").removeprefix("sha256=").encode()
    digest = hmac.digest(webhook.signature_secret.encode(), call.body, "sha256")
    as_hex, as_base64 = digest.hex().encode(), base64.b64encode(digest)
    if not (hmac.compare_digest(shown, as_hex) or hmac.compare_digest(shown, as_base64)):
        raise SignatureInvalidError


async def _existing(context: Context, webhook_id: str) -> WebhookRow:
    row = await get(context, webhook_id, frozenset())
    if row is None:
        raise WebhookNotFoundError
    return row
