"""Webhooks of flows: their management, and the calls that come in."""

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
"""Of one flow."""
DELIVERY_HEADERS = (
    "idempotency-key",
    "webhook-id",  # Standard Webhooks
    "svix-id",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
)
"""Headers that are the same when a delivery is tried again; the first that is there counts."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")


@dataclass(frozen=True, slots=True)
class Signature:
    """How calls of a webhook are signed: with the HMAC-SHA256 of the body, in a header."""

    header: str
    secret: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A webhook with a token, which cannot be read again."""

    key: UUID
    token: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a webhook as it came in."""

    body: bytes
    headers: Mapping[str, str]
    """All of them, named in small letters."""
    input: Mapping[str, Any]
    """What the run is given."""


async def get(context: Context, webhook_id: str, columns: frozenset[str]) -> WebhookRow | None:
    """The webhook `webhook_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: `webhook_id` is not the ID of a webhook.
    """
    row = await context.loaders.load(webhooks.by_ids, ids.decode(IdKind.WEBHOOK, webhook_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def written(context: Context, key: UUID, columns: frozenset[str]) -> WebhookRow:
    """A webhook as it is after a change; not what the request may have seen before."""
    return (await context.database.read(webhooks.by_ids, [key], columns))[key]


async def create(
    context: Context, flow_id: str, name: str, environment: Environment, signature: Signature | None
) -> Issued:
    """Create a webhook.

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
    """Give a webhook another token; the one it had ends at once.

    Raises:
        InvalidIdError, WebhookNotFoundError.
    """
    row = await _existing(context, webhook_id)
    token = await context.database.write(webhooks.rotate, row.id)
    if token is None:
        raise WebhookNotFoundError
    return Issued(row.id, token)


async def remove(context: Context, webhook_id: str) -> None:
    """Delete a webhook; the runs that it started stay.

    Raises:
        InvalidIdError, WebhookNotFoundError.
    """
    row = await _existing(context, webhook_id)
    if not await context.database.write(webhooks.remove, row.id):
        raise WebhookNotFoundError


async def find(database: Database, token: str) -> WebhookRow:
    """The webhook whose token this is.

    Raises:
        WebhookNotFoundError: it is that of none.
    """
    row = await database.read(webhooks.by_token, token)
    if row is None:
        raise WebhookNotFoundError
    return row


def context_of(database: Database, flow_cache: FlowCache, webhook: WebhookRow) -> Context:
    """What a webhook may do: start runs in its project."""
    viewer = Viewer(webhook.id, webhook.project_id, Role.OPERATOR, f"webhook {webhook.name}")
    return Context(database, flow_cache, viewer)


async def receive(context: Context, webhook: WebhookRow, call: Call) -> UUID:
    """Start the run that a call asks for, or find the one that it started when it came before; returns its key.

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
        # The keys of `startRun`, and other webhooks, have nothing to do with it.
        idempotency_key=f"{webhook_id}:{delivery}" if delivery else None,
        # Not the headers: a delivery that is tried again has other times and signatures there.
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
