"""Creates, rotates and revokes API keys, after checking the rights of the viewer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from db import api_keys, projects
from db.api_keys import KeyFilter
from db.core.unit_of_work import UnitOfWork
from db.row_types import ApiKeyRow
from domain import ids
from domain.actor import Origin
from domain.enums import Role
from domain.errors import (
    ApiKeyNotActiveError,
    ApiKeyNotFoundError,
    InvalidArgumentError,
    PrivilegeExceededError,
    ProjectNotFoundError,
)
from domain.ids import IdKind
from domain.time import clock
from resolvers import authorize, limits, values
from resolvers.context import Context, Viewer
from resolvers.lists import RowList

DEFAULT_OVERLAP = "P1D"
"""Time for which a rotated key remains valid, unless the client gives one."""
_ORDERING = 210
"""The number by which a cursor names the order of keys."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. Its secret cannot be read again: only its hash is stored."""

    key_id: UUID
    secret: str


def list_of(context: Context, active: bool | None) -> RowList:
    """Returns the keys that the viewer can see, newest first. `active`: see `KeyFilter`.

    Raises:
        ForbiddenError: the viewer is not an ADMIN.
    """
    authorize.require(context.viewer, Role.ADMIN)
    where = KeyFilter(authorize.visible_projects(context.viewer, None), active)
    return RowList(context.database, api_keys.LISTING, where, _ORDERING)


async def create(
    context: Context,
    name: str,
    role: Role,
    project_id: str | None,
    *,
    all_projects: bool,
    payloads: bool,
    expires_at: datetime | None,
    expires_in: str | None,
    cost_per_minute: int | None = None,
) -> IssuedKey:
    """Creates a key of a project, or with `all_projects` an operator key.

    Without `cost_per_minute` the key gets the rate limit of the viewer's own key, which may be the default.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, SettingsInvalidError.
        PrivilegeExceededError: the viewer's own key has a lower role, is not for all projects, has no access to
            payloads, or has a lower rate limit.
    """
    viewer = context.viewer
    exceeds = (payloads and not viewer.payloads) or (all_projects and viewer.project_id is not None)
    if exceeds or not viewer.role.includes(role):
        raise PrivilegeExceededError
    if all_projects and project_id is not None:
        raise InvalidArgumentError("Give `projectId` or `allProjects`, not both.")
    limit = cost_per_minute if cost_per_minute is not None else viewer.cost_per_minute
    _check_limit(viewer, limit)
    named_project = ids.decode(IdKind.PROJECT, project_id) if project_id is not None else None
    checked_name, end = values.check_text("name", name), _expiry(expires_at, expires_in)
    owner = None
    if not all_projects:
        owner = authorize.target_project(viewer, named_project)
        if owner is None:
            raise ProjectNotFoundError

    # The origin is read here: the unit of work may run in a thread, which does not know the request.
    origin = context.origin

    def work(uow: UnitOfWork) -> IssuedKey:
        if owner is not None and not projects.keep(uow, owner):
            raise ProjectNotFoundError
        key_id = ids.new_uuid()
        secret = api_keys.create(
            uow,
            project_id=owner,
            role=role,
            name=checked_name,
            expires_at=end,
            key_id=key_id,
            payloads=payloads,
            cost_per_minute=limit,
            origin=origin,
        )
        return IssuedKey(key_id, secret)

    return await context.database.write(work)


def _check_limit(viewer: Viewer, cost_per_minute: int | None) -> None:
    """Checks the rate limit that the viewer gives to a key.

    Raises:
        SettingsInvalidError: it is out of range.
        PrivilegeExceededError: the viewer's own key has a lower one.
    """
    limits.check_key({"cost_per_minute": cost_per_minute})
    _check_within_own(viewer, cost_per_minute)


def _check_within_own(viewer: Viewer, cost_per_minute: int | None) -> None:
    """Raises PrivilegeExceededError if the viewer's own key has a lower rate limit."""
    own = viewer.cost_per_minute
    if own is not None and (cost_per_minute is None or cost_per_minute > own):
        raise PrivilegeExceededError


async def update(context: Context, key_id: str, columns: Mapping[str, Any]) -> UUID:
    """Changes the name or the rate limit of a key; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, ApiKeyNotFoundError, ApiKeyNotActiveError, SettingsInvalidError.
        PrivilegeExceededError: the key has a higher role than the viewer's own, or the viewer's has a lower limit.
    """
    key = ids.decode(IdKind.API_KEY, key_id)
    if "name" in columns:
        values.check_text("name", columns["name"])
    if "cost_per_minute" in columns:
        _check_limit(context.viewer, columns["cost_per_minute"])
    await context.database.write(_update, context.viewer, context.origin, key, columns)
    return key


def _update(uow: UnitOfWork, viewer: Viewer, origin: Origin, key_id: UUID, columns: Mapping[str, Any]) -> None:
    key = _locked(uow, viewer, key_id)
    _check_active(key)
    api_keys.change(uow, key, columns, origin)


async def rotate(
    context: Context, key_id: str, overlap: str, *, expires_at: datetime | None, expires_in: str | None
) -> IssuedKey:
    """Creates a key that replaces another one. The old key ends after the time `overlap`.

    Without `expires_at` and `expires_in`, the new key gets the lifetime of the old one.

    Raises:
        InvalidIdError, InvalidArgumentError, ApiKeyNotFoundError, ApiKeyNotActiveError.
        PrivilegeExceededError: the key has a higher role than the viewer's own, access to payloads that the viewer does
            not have, or a higher rate limit.
    """
    end = _expiry(expires_at, expires_in)
    old_ends_at = values.end_of("overlap", overlap, clock.now())
    return await context.database.write(
        _rotate, context.viewer, context.origin, ids.decode(IdKind.API_KEY, key_id), old_ends_at, end
    )


def _rotate(
    uow: UnitOfWork, viewer: Viewer, origin: Origin, key_id: UUID, old_ends_at: datetime, expires_at: datetime | None
) -> IssuedKey:
    key = _locked(uow, viewer, key_id)
    if key.user_id is not None:
        raise ApiKeyNotActiveError(
            "This is the session of a person, which cannot be rotated. Revoke it, or create a key."
        )
    if key.payloads and not viewer.payloads:
        raise PrivilegeExceededError
    _check_within_own(viewer, key.cost_per_minute)
    _check_active(key)
    new_id = ids.new_uuid()
    return IssuedKey(new_id, api_keys.rotate(uow, key, old_ends_at, expires_at, new_id, origin))


async def revoke(context: Context, key_id: str) -> UUID:
    """Revokes a key: its requests are refused and its streams end, in every process within a second; returns its ID.

    Raises:
        InvalidIdError, ApiKeyNotFoundError.
        ApiKeyNotActiveError: it was revoked before.
        PrivilegeExceededError: the key has a higher role than the viewer's own.
    """
    key = ids.decode(IdKind.API_KEY, key_id)
    await context.database.write(_revoke, context.viewer, context.origin, key)
    return key


def _revoke(uow: UnitOfWork, viewer: Viewer, origin: Origin, key_id: UUID) -> None:
    _locked(uow, viewer, key_id)
    if not api_keys.revoke(uow, key_id, origin):
        raise ApiKeyNotActiveError


def _locked(uow: UnitOfWork, viewer: Viewer, key_id: UUID) -> ApiKeyRow:
    key = api_keys.locked(uow, key_id)
    if key is None or not authorize.can_see(viewer, key):
        raise ApiKeyNotFoundError
    if not viewer.role.includes(Role(key.role)):
        raise PrivilegeExceededError
    return key


def _check_active(key: ApiKeyRow) -> None:
    """Raises ApiKeyNotActiveError if the key was revoked or has expired."""
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= clock.now()):
        raise ApiKeyNotActiveError


def _expiry(expires_at: datetime | None, expires_in: str | None) -> datetime | None:
    if expires_at is not None and expires_in is not None:
        raise InvalidArgumentError("Give `expiresAt` or `expiresIn`, not both.")
    if expires_in is not None:
        expires_at = values.end_of("expiresIn", expires_in, clock.now())
    if expires_at is not None and expires_at <= clock.now():
        raise InvalidArgumentError("A key must expire in the future.")
    return expires_at
