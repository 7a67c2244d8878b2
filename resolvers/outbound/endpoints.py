"""Endpoints of projects: their management, and the callbacks of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx

from db import audit_events, projects
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.deliveries import endpoints, log, relay
from db.deliveries.endpoints import EndpointFilter
from db.outbound_row_types import EndpointRow
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import Role
from domain.errors import (
    EndpointInvalidError,
    EndpointNotFoundError,
    EndpointUrlUnreadableError,
    InvalidArgumentError,
    ProjectNotFoundError,
    SecretKeysMissingError,
)
from domain.ids import IdKind
from domain.outbound.delivery import DisabledReason, EventKind
from domain.problem import Problem
from domain.text import client_name
from domain.time import clock
from engine.deliveries import sealing
from engine.deliveries.callbacks import RunCallback
from engine.deliveries.relay import new_delivery
from engine.secrets import endpoint_urls
from engine.secrets.key_ring import KeyLostError, KeyRing, NoKeyError
from engine.secrets.url_masks import origin_of
from resolvers import authorize, secrets, values
from resolvers.context import Context
from resolvers.lists import RowList
from resolvers.outbound import reads

MAX_ENDPOINTS = 100
"""Endpoints of one project. Every event of the project is compared with the filter of each."""
MAX_URL_LENGTH = 2_000
"""Characters of a URL."""
DEFAULT_OVERLAP = "P1D"
"""How long the earlier secret still signs after a rotation, unless a client says otherwise."""
_ORDERING = 212
"""The number by which a cursor names the order of endpoints."""
_ALL = frozenset({"name", "url", "run_filter", "kinds", "payloads", "enabled", "after_seq"})


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A new secret of an endpoint. It cannot be read again: it is stored encrypted."""

    endpoint_id: UUID
    secret: str


def list_of(context: Context, enabled: bool | None) -> RowList:
    """Returns the endpoints that the viewer sees, newest first.

    Raises:
        ForbiddenError: the viewer is no ADMIN.
    """
    authorize.require(context.viewer, Role.ADMIN)
    where = EndpointFilter(project_ids=authorize.visible_projects(context.viewer, None), enabled=enabled)
    return RowList(context.database, endpoints.LISTING, where, _ORDERING)


async def get(context: Context, endpoint_id: str, columns: frozenset[str]) -> EndpointRow | None:
    """Returns the endpoint `endpoint_id`; None if the viewer is no ADMIN or sees no such endpoint.

    Raises:
        InvalidIdError: `endpoint_id` is not the ID of an endpoint.
    """
    return await reads.get(context, IdKind.ENDPOINT, endpoint_id, endpoints.by_ids, columns)


def url_of(context: Context, endpoint: EndpointRow) -> str | None:
    """Returns the URL of an endpoint; None for the endpoint of callbacks.

    Raises:
        EndpointUrlUnreadableError: the key that encrypted it is missing.
    """
    try:
        return endpoint_urls.url_of(context.secret_keys, endpoint)
    except KeyLostError as error:
        message = f"The URL of the endpoint cannot be read. {error} Add it to FLOWRUNS_SECRET_KEYS, or set a new URL."
        raise EndpointUrlUnreadableError(message) from None


async def create(context: Context, project_id: str | None, given: Mapping[str, Any]) -> IssuedSecret:
    """Creates an endpoint with the columns `given`.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, EndpointInvalidError,
        SecretKeysMissingError.
        ForbiddenError: bodies would have payloads, of which the viewer has no sight.
    """
    owner = authorize.decode_target_project(context.viewer, project_id)
    columns = _checked(given)
    if columns["payloads"]:
        authorize.require_payloads(context.viewer)
    if owner is None:
        raise ProjectNotFoundError
    endpoint_id = ids.new_uuid()
    now = ids.created_at(endpoint_id)
    secret, sealed = _new_secret(context, endpoint_id)
    enabled = columns["enabled"]
    row = {
        **_stored(context, columns, endpoint_id),
        **sealed,
        "id": endpoint_id,
        "project_id": owner,
        "disabled_reason": None if enabled else DisabledReason.REQUESTED,
        "disabled_at": None if enabled else now,
        "created_at": now,
        "changed_at": now,
        "changed_by": context.viewer.actor.text,
    }
    try:
        await context.database.write(_create, context.origin, row, columns["url"])
    except ConflictError:
        raise _invalid("url", "The project has an endpoint without a URL already. It signs all callbacks.") from None
    return IssuedSecret(endpoint_id, secret)


def _create(uow: UnitOfWork, origin: Origin, row: Mapping[str, Any], url: str | None) -> None:
    if not projects.keep(uow, row["project_id"]):
        raise ProjectNotFoundError
    newest = relay.begin_change(uow)
    if endpoints.count(uow.conn, row["project_id"]) >= MAX_ENDPOINTS:
        raise InvalidArgumentError(f"The project already has {MAX_ENDPOINTS} endpoints, the maximum. Delete one first.")
    endpoints.create(uow, {**row, "after_seq": newest})
    details = {
        "name": row["name"],
        "url": None if url is None else origin_of(url),
        "kinds": json_codec.decode(row["kinds"]),
    }
    _record(uow, origin, AuditAction.CREATE_ENDPOINT, row["id"], row["project_id"], details)


async def update(context: Context, endpoint_id: str, given: Mapping[str, Any]) -> UUID:
    """Sets the columns `given` of an endpoint; returns its key. An endpoint that is enabled gets events from now on,
    and its pending deliveries.

    Raises:
        InvalidIdError, InvalidArgumentError, EndpointNotFoundError, EndpointInvalidError,
        SecretKeysMissingError.
        ForbiddenError: bodies have payloads, of which the viewer has no sight.
    """
    endpoint = await existing(context, endpoint_id)
    columns = _checked(given)
    if columns.get("payloads", endpoint.payloads):
        authorize.require_payloads(context.viewer)
    stored = _stored(context, columns, endpoint.id)
    await context.database.write(_update, context.origin, context.secret_keys, endpoint.id, columns, stored)
    return endpoint.id


def _update(
    uow: UnitOfWork,
    origin: Origin,
    keys: KeyRing,
    endpoint_id: UUID,
    columns: Mapping[str, Any],
    stored: Mapping[str, Any],
) -> None:
    newest = relay.begin_change(uow)
    endpoint = endpoints.locked(uow, endpoint_id)
    if endpoint is None:
        raise EndpointNotFoundError
    if columns.get("url") is not None and endpoint.url is None:
        raise _invalid("url", "The endpoint of callbacks has no URL: each run has its own.")
    now = clock.now()
    changes = {**stored, "changed_at": now, "changed_by": origin.actor.text}
    if columns.get("enabled") is True and not endpoint.enabled:
        changes |= {"disabled_reason": None, "disabled_at": None, "failing_since": None, "after_seq": newest}
    elif columns.get("enabled") is False and endpoint.enabled:
        changes |= {"disabled_reason": DisabledReason.REQUESTED, "disabled_at": now}
    endpoints.change(uow, endpoint_id, changes)
    before = {name: getattr(endpoint, name) for name in columns}
    if "url" in columns:
        before["url"] = _url_before(keys, endpoint)
    details = audit_events.changes(before, columns)
    if (change := details["changes"].get("url")) is not None:
        # The log says where events went, also when the change was undone, and has nothing that may be a token.
        details["changes"]["url"] = {side: url and origin_of(url) for side, url in change.items()}
    _record(uow, origin, AuditAction.UPDATE_ENDPOINT, endpoint_id, endpoint.project_id, details)


async def rotate(context: Context, endpoint_id: str, overlap: str) -> IssuedSecret:
    """Gives an endpoint a new secret. During `overlap` deliveries have a signature by each of both secrets.

    Raises:
        InvalidIdError, InvalidArgumentError, EndpointNotFoundError, SecretKeysMissingError.
    """
    endpoint = await existing(context, endpoint_id)
    now = clock.now()
    until = values.end_of("overlap", overlap, now)
    secret, sealed = _new_secret(context, endpoint.id)
    changes = {**sealed, "changed_at": now, "changed_by": context.viewer.actor.text}
    await context.database.write(_rotate, context.origin, endpoint.id, changes, until)
    return IssuedSecret(endpoint.id, secret)


def _rotate(uow: UnitOfWork, origin: Origin, endpoint_id: UUID, changes: Mapping[str, Any], until: datetime) -> None:
    endpoint = endpoints.locked(uow, endpoint_id)
    if endpoint is None:
        raise EndpointNotFoundError
    old = {"old_key_id": endpoint.key_id, "old_sealed": endpoint.sealed, "old_until": until}
    endpoints.change(uow, endpoint_id, {**changes, **old})
    details = {"name": endpoint.name}
    _record(uow, origin, AuditAction.ROTATE_ENDPOINT_SECRET, endpoint_id, endpoint.project_id, details)


async def remove(context: Context, endpoint_id: str) -> None:
    """Deletes an endpoint. What was not delivered is cancelled.

    Raises:
        InvalidIdError, EndpointNotFoundError.
    """
    endpoint = await existing(context, endpoint_id)
    await context.database.write(_remove, context.origin, endpoint, clock.now())


def _remove(uow: UnitOfWork, origin: Origin, endpoint: EndpointRow, now: datetime) -> None:
    relay.begin_change(uow)
    if not endpoints.remove(uow, endpoint.id, now):
        raise EndpointNotFoundError
    details = {"name": endpoint.name}
    _record(uow, origin, AuditAction.DELETE_ENDPOINT, endpoint.id, endpoint.project_id, details)


async def test(context: Context, endpoint_id: str) -> UUID:
    """Sends a test to an endpoint; returns the key of the delivery.

    Raises:
        InvalidIdError, EndpointNotFoundError.
        EndpointInvalidError: the endpoint has no URL, or is disabled.
    """
    endpoint = await existing(context, endpoint_id)
    if endpoint.url is None:
        raise _invalid("url", "The endpoint of callbacks has no URL that could be tested.")
    if not endpoint.enabled:
        raise _invalid("enabled", "The endpoint is disabled: enable it first.")
    row = new_delivery(endpoint, EventKind.TEST, clock.now())
    await context.database.write(_test, context.origin, endpoint, row)
    delivery_id: UUID = row["id"]
    return delivery_id


def _test(uow: UnitOfWork, origin: Origin, endpoint: EndpointRow, row: Mapping[str, Any]) -> None:
    log.create(uow, row)
    details = {"deliveryId": ids.encode(IdKind.DELIVERY, row["id"])}
    _record(uow, origin, AuditAction.TEST_ENDPOINT, endpoint.id, endpoint.project_id, details)


def checked_callback(context: Context, url: str | None) -> RunCallback | None:
    """Returns the callback of a run that is about to be created; None without a URL.

    Raises:
        InvalidArgumentError: the URL is invalid.
        ForbiddenError: the viewer has no sight of payloads, which callbacks may have.
    """
    if url is None:
        return None
    authorize.require_payloads(context.viewer)
    if problem := url_problem(url):
        raise InvalidArgumentError(f"`callbackUrl`: {problem}")
    return RunCallback(url, context.secret_keys)


def url_problem(url: str) -> str | None:
    """Returns what is wrong with the URL of a receiver; None: nothing is, as far as its text goes."""
    if len(url) > MAX_URL_LENGTH:
        return f"A URL has at most {MAX_URL_LENGTH:,} characters"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host or "\0" in url:
        return "An absolute URL with http or https is needed, such as https://example.com/events"
    return None


async def existing(context: Context, endpoint_id: str) -> EndpointRow:
    """Returns an endpoint that the viewer sees.

    Raises:
        InvalidIdError, EndpointNotFoundError.
    """
    endpoint = await get(context, endpoint_id, _ALL)
    if endpoint is None:
        raise EndpointNotFoundError
    return endpoint


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the client's values as they are stored.

    Raises:
        InvalidArgumentError: the name is invalid.
        EndpointInvalidError: with every other problem.
    """
    columns = dict(given)
    problems: list[Problem] = []
    if "name" in columns:
        columns["name"] = values.check_text("name", columns["name"])
    if columns.get("url") is not None and (message := url_problem(columns["url"])):
        problems.append(Problem("url", message))
    if "kinds" in columns:
        kinds: Sequence[EventKind] = list(dict.fromkeys(columns["kinds"]))
        if not kinds or EventKind.TEST in kinds:
            problems.append(Problem("kinds", "At least one kind is needed, and TEST is none that can be chosen"))
        columns["kinds"] = json_codec.encode(kinds, limit=json_codec.KIB, what="kinds")
    if problems:
        raise EndpointInvalidError(problems)
    return columns


def _new_secret(context: Context, endpoint_id: UUID) -> tuple[str, dict[str, str]]:
    """Returns a new secret, and the columns that store it."""
    secret = sealing.new_secret()
    return secret, secrets.sealed_columns(context, secret, sealing.endpoint_context(endpoint_id))


def _stored(context: Context, columns: Mapping[str, Any], endpoint_id: UUID) -> dict[str, Any]:
    """Returns `columns` with the URL encrypted.

    Raises:
        SecretKeysMissingError: the service has no key.
    """
    if "url" not in columns:
        return dict(columns)
    try:
        return {**columns, **endpoint_urls.sealed_columns(context.secret_keys, columns["url"], endpoint_id)}
    except NoKeyError:
        raise SecretKeysMissingError from None


def _url_before(keys: KeyRing, endpoint: EndpointRow) -> str | None:
    """Returns the URL that a change replaces. One that cannot be read counts as another one."""
    try:
        return endpoint_urls.url_of(keys, endpoint)
    except KeyLostError:
        return None


def _invalid(path: str, message: str) -> EndpointInvalidError:
    return EndpointInvalidError([Problem(client_name(path), message)])


def _record(
    uow: UnitOfWork,
    origin: Origin,
    action: AuditAction,
    endpoint_id: UUID,
    project_id: UUID,
    details: Mapping[str, Any],
) -> None:
    audit_events.record(uow, origin, action, IdKind.ENDPOINT, endpoint_id, project_id, details=details)
