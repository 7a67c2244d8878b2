"""Manages the webhooks of flows. `webhook_calls` handles their calls."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from db import audit_events, webhooks
from db import flows as db_flows
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import WebhookRow
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import Environment, WebhookSignature
from domain.errors import (
    FlowNotFoundError,
    InputInvalidError,
    InvalidArgumentError,
    SecretKeysMissingError,
    WebhookInvalidError,
    WebhookNotFoundError,
)
from domain.flows.templated import is_template
from domain.http import response_headers, webhook_signatures
from domain.ids import IdKind
from domain.problem import Problem
from engine.secrets import signing
from engine.secrets.key_ring import NoKeyError
from engine.templates import compile_problems, condition_problems
from resolvers import authorize, flows, limits, values
from resolvers.context import Context

MAX_WEBHOOKS = 100
"""Largest number of webhooks of one flow."""
INPUT_NAMES = frozenset({"request"})
"""Variables of the template of a webhook's input, and of the condition of its response."""
RESPONSE_NAMES = frozenset({"request", "run"})
"""Variables of the template of a webhook's response."""
_RESPONSE_FIELDS = {"when", "status", "headers", "body"}
_MAX_TEMPLATE_BYTES = 64 * json_codec.KIB
"""Largest size in bytes of a template as JSON."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_EMPTY_REQUEST = {"method": "POST", "query": {}, "headers": {}, "body": {}}
_OPTIONAL_MEMBERS = frozenset({"bodyBase64"})
"""Members of a request that only some requests have."""
_MAPPING_HINT = 'map the request to an input with `input`, such as {"order": "{{ request.body.order }}"}.'


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token of a webhook. It cannot be read again: only its hash is stored."""

    webhook_id: UUID
    token: str
    warnings: tuple[str, ...] = ()
    """Warnings about settings that probably do not do what the client expects."""


async def get(context: Context, webhook_id: str, columns: frozenset[str]) -> WebhookRow | None:
    """Returns the webhook `webhook_id`; None if the viewer can see no such webhook.

    Raises:
        InvalidIdError: `webhook_id` is not the ID of a webhook.
    """
    row = await context.loaders.load(webhooks.by_ids, ids.decode(IdKind.WEBHOOK, webhook_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """The settings of a new webhook."""

    name: str
    environment: Environment
    signature: WebhookSignature | None
    signature_header: str | None
    signature_secret: str | None
    input: Any
    """A template of the input of runs over `request`; None: the input is the request."""
    respond: Any
    """A template of the response over `request` and `run`; None: the response names the started run."""
    accepts_get: bool
    exposed_headers: Sequence[str]
    calls_per_minute: int | None


async def create(context: Context, flow_id: str, given: NewWebhook) -> IssuedToken:
    """Creates a webhook.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, WebhookInvalidError, InputTooLargeError,
        NumberOutOfRangeError.
        SecretKeysMissingError: the service cannot encrypt the signing secret.
    """
    header = _signature_header(given)
    limit_problems = limits.out_of_range({"calls_per_minute": given.calls_per_minute})
    if problems := [*_template_problems(given), *limit_problems]:
        raise WebhookInvalidError(problems)
    flow = await flows.get_kept(context, flow_id, frozenset({"published_version_id"}))
    mismatches, warnings = await _schema_problems(context, flow.published_version_id, given)
    if mismatches:
        raise WebhookInvalidError(mismatches)
    webhook_id = ids.new_uuid()
    columns = {
        "project_id": flow.project_id,
        "flow_id": flow.id,
        "name": values.check_text("name", given.name),
        "environment": given.environment,
        "signature_header": header,
        **_sealed(context, given.signature_secret, webhook_id, flow.project_id),
        "input_template": _template_text("input", given.input),
        "response_template": _template_text("respond", given.respond),
        "accepts_get": given.accepts_get,
        "calls_per_minute": given.calls_per_minute,
        "exposed_headers": json_codec.encode(
            [_checked_header(name) for name in given.exposed_headers], limit=_MAX_TEMPLATE_BYTES, what="exposedHeaders"
        ),
    }
    issued = await context.database.write(_create, context.origin, webhook_id, columns)
    return replace(issued, warnings=warnings)


async def _schema_problems(
    context: Context, version_id: UUID | None, given: NewWebhook
) -> tuple[Sequence[Problem], tuple[str, ...]]:
    """Returns why the flow accepts no request as its input, and warnings about requests that it does not accept."""
    if given.input is not None or version_id is None:
        return (), ()
    version = await context.flows.get(version_id)
    if version.input_schema is None:
        return (), ()
    if reason := version.input_schema.mismatch_of_all(_EMPTY_REQUEST, _OPTIONAL_MEMBERS):
        message = f"The flow's inputSchema accepts no request as its input ({reason}): {_MAPPING_HINT}"
        return [Problem("input", message)], ()
    try:
        version.accept_input(_EMPTY_REQUEST)
    except InputInvalidError as error:
        # The body can have any members; all other members exist in every request.
        found = [problem for problem in error.problems if not problem.path.startswith("input.body")]
        if found:
            reason = f"{found[0].path}: {found[0].message}"
            message = f"The flow's inputSchema may not accept requests as its input ({reason}): {_MAPPING_HINT}"
            return (), (message,)
    return (), ()


def _template_problems(given: NewWebhook) -> Iterator[Problem]:
    if given.input is not None:
        yield from compile_problems(given.input, "input", INPUT_NAMES)
    respond = given.respond
    if respond is None:
        return
    if not isinstance(respond, dict):
        yield Problem("respond", "An object with status, headers and body is expected")
        return
    for name in respond.keys() - _RESPONSE_FIELDS:
        yield Problem(f"respond.{name}", f"Unknown member; the members are: {', '.join(sorted(_RESPONSE_FIELDS))}")
    if "when" in respond:
        when = respond["when"]
        if isinstance(when, bool | str):
            yield from condition_problems(when, "respond.when", INPUT_NAMES)
        else:
            yield Problem("respond.when", "A boolean or an expression is expected")
    status = respond.get("status", 200)
    if not is_template(status) and (not isinstance(status, int) or isinstance(status, bool) or not 200 <= status < 600):
        yield Problem("respond.status", "A number from 200 to 599 is expected")
    yield from _header_problems(respond.get("headers", {}))
    rest = {name: part for name, part in respond.items() if name != "when"}
    yield from compile_problems(rest, "respond", RESPONSE_NAMES)


def _header_problems(headers: Any) -> Iterator[Problem]:
    """Yields the problems of headers that do not depend on a call."""
    if is_template(headers):
        return
    if not isinstance(headers, dict):
        yield Problem("respond.headers", "An object of texts is expected")
        return
    for name, value in headers.items():
        path = f"respond.headers.{name}"
        if not is_template(name) and (reason := response_headers.name_problem(name)):
            yield Problem(path, reason)
        if not isinstance(value, str):
            yield Problem(path, "A text is expected")
        elif not is_template(value) and (reason := response_headers.value_problem(value)):
            yield Problem(path, reason)


def _template_text(name: str, template: Any) -> str | None:
    return None if template is None else values.encode(template, limit=_MAX_TEMPLATE_BYTES, what=name)


def _signature_header(given: NewWebhook) -> str | None:
    """Returns the header of the signature, in lower case; None if calls are not signed.

    Raises:
        InvalidArgumentError: the arguments of the signature contradict each other.
    """
    header, secret, form = given.signature_header, given.signature_secret, given.signature
    if form is not None and form is not WebhookSignature.HMAC:
        if header is not None and header.lower() != webhook_signatures.HEADERS[form]:
            raise InvalidArgumentError("`signature` decides which header is signed; omit `signatureHeader`.")
        header = webhook_signatures.HEADERS[form]
    if (header is None) is not (secret is None):
        raise InvalidArgumentError(
            "A signature needs `signatureSecret`, and `signature` or `signatureHeader`: give both or none."
        )
    if form is WebhookSignature.HMAC and header is None:
        raise InvalidArgumentError("`signature: HMAC` needs `signatureHeader`.")
    if header is None or secret is None:
        return None
    values.check_text("signatureSecret", secret)
    lowered = _checked_header(header)
    if not webhook_signatures.is_usable_secret(webhook_signatures.form_of(lowered), secret):
        raise InvalidArgumentError("`signatureSecret` of Standard Webhooks and Svix must be base64 after `whsec_`.")
    return lowered


def _checked_header(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise InvalidArgumentError("Names of headers must have 1 to 100 characters: letters, digits, `-` and `_`.")
    return name.lower()


def _sealed(context: Context, secret: str | None, webhook_id: UUID, project_id: UUID) -> dict[str, str]:
    if secret is None:
        return {}
    try:
        sealed = signing.seal(context.secret_keys, secret, webhook_id, project_id)
    except NoKeyError:
        raise SecretKeysMissingError from None
    return {"signature_key_id": sealed.key_id, "signature_sealed": sealed.text}


def _create(uow: UnitOfWork, origin: Origin, webhook_id: UUID, columns: Mapping[str, Any]) -> IssuedToken:
    if not db_flows.keep(uow, columns["flow_id"]):
        raise FlowNotFoundError(flows.BEING_DELETED)
    if webhooks.count(uow.conn, columns["flow_id"]) >= MAX_WEBHOOKS:
        raise InvalidArgumentError(f"The flow already has {MAX_WEBHOOKS} webhooks, the maximum. Delete one first.")
    issued = IssuedToken(webhook_id, webhooks.create(uow, webhook_id, columns))
    details = {"name": columns["name"], "signatureHeader": columns["signature_header"]}
    flow_id, project_id = columns["flow_id"], columns["project_id"]
    _record(uow, origin, AuditAction.CREATE_WEBHOOK, issued.webhook_id, project_id, flow_id, details)
    return issued


async def update(context: Context, webhook_id: str, columns: Mapping[str, Any]) -> UUID:
    """Changes the name or the rate limit of a webhook; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, WebhookNotFoundError, SettingsInvalidError.
    """
    if "name" in columns:
        values.check_text("name", columns["name"])
    limits.check_webhook(columns)
    webhook = await _get_existing(context, webhook_id)
    await context.database.write(_update, context.origin, webhook, columns)
    return webhook.id


def _update(uow: UnitOfWork, origin: Origin, webhook: WebhookRow, columns: Mapping[str, Any]) -> None:
    if columns and not webhooks.change(uow, webhook.id, columns):
        raise WebhookNotFoundError
    details = audit_events.changes({name: getattr(webhook, name) for name in columns}, columns)
    _record(uow, origin, AuditAction.UPDATE_WEBHOOK, webhook.id, webhook.project_id, webhook.flow_id, details)


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
    """Deletes a webhook. Its runs remain.

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
    webhook = await get(context, webhook_id, frozenset({"flow_id", "name", "calls_per_minute"}))
    if webhook is None:
        raise WebhookNotFoundError
    return webhook


async def find(database: Database, token: str) -> WebhookRow:
    """Returns the webhook with this token.

    Raises:
        WebhookNotFoundError: no webhook has this token.
    """
    webhook = await database.read(webhooks.by_token, token)
    if webhook is None:
        raise WebhookNotFoundError
    return webhook
