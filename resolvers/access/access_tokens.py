"""Creates and revokes access tokens, after checking the rights of the viewer."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import access_tokens, audit_events
from db.core.unit_of_work import UnitOfWork
from domain import ids, json_codec
from domain.access_token import MAX_LIFETIME, AccessToken
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import AccessTokenNotFoundError, EmptyFilterError, PrivilegeExceededError
from domain.ids import IdKind
from domain.runs import scope as scopes
from domain.runs.run_filter import RunFilter
from domain.time import clock
from resolvers import values
from resolvers.context import Context, Viewer

DEFAULT_LIFETIME = "PT15M"
"""Lifetime of a token, unless the client gives one."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token. The service does not store its text."""

    token: AccessToken
    text: str


async def create(
    context: Context, scope: RunFilter, filter_text: str, expires_in: str, *, payloads: bool
) -> IssuedToken:
    """Creates a token for the runs of `scope` that the viewer can see. `filter_text` is the filter as the client sent
    it.

    Raises:
        EmptyFilterError: the filter restricts nothing.
        InvalidArgumentError: a run can leave the filter, or the lifetime is invalid.
        PrivilegeExceededError: the viewer has no access to payloads.
        TokenKeysMissingError: the service cannot sign.
    """
    if scope.is_empty:
        raise EmptyFilterError
    scopes.check(scope, "filter")
    viewer = context.viewer
    if payloads and not viewer.payloads:
        raise PrivilegeExceededError
    expires_at = values.lifetime_end(expires_in, MAX_LIFETIME)
    if viewer.expires_at is not None:
        expires_at = min(expires_at, viewer.expires_at.replace(microsecond=0))
    token = AccessToken(ids.new_uuid(), viewer.key_id, filter_text, payloads, expires_at)
    text = context.token_keys.sign(token)
    details = {"filter": json_codec.decode(filter_text), "payloads": payloads, "expiresAt": expires_at}
    await context.database.write(
        _record, context.origin, AuditAction.CREATE_ACCESS_TOKEN, token, viewer.project_id, details
    )
    return IssuedToken(token, text)


async def revoke(context: Context, text: str) -> AccessToken:
    """Revokes a token that a key of the same project created.

    Raises:
        AccessTokenNotFoundError: the token does not exist, has expired or was revoked.
    """
    token = context.token_keys.verified(text)
    if token is None or token.expires_at <= clock.now():
        raise AccessTokenNotFoundError
    await context.database.write(_revoke, context.origin, context.viewer, token)
    return token


def _revoke(uow: UnitOfWork, origin: Origin, viewer: Viewer, token: AccessToken) -> None:
    key = access_tokens.active_key(uow.conn, token.id, token.key_id)
    if key is None or viewer.project_id not in (None, key.project_id):
        raise AccessTokenNotFoundError
    if not access_tokens.revoke(uow, token.id, token.expires_at):
        raise AccessTokenNotFoundError
    _record(uow, origin, AuditAction.REVOKE_ACCESS_TOKEN, token, key.project_id, {})


def _record(
    uow: UnitOfWork,
    origin: Origin,
    action: AuditAction,
    token: AccessToken,
    project_id: UUID | None,
    details: dict[str, Any],
) -> None:
    audit_events.record(uow, origin, action, IdKind.ACCESS_TOKEN, token.id, project_id, details=details)
