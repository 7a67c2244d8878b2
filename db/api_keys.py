"""Reads and writes of API keys. A secret is shown once; only its hash is stored."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, not_, or_, select, true, update

from db import audit_events, secret_tokens
from db.console import saved_views
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import ApiKey, Project
from db.models.types import table
from db.row_types import ApiKeyRow
from db.sql.listing import Listing
from db.sql.rows import fetch_all, fetch_first, select_columns
from domain import ids
from domain.actor import BY_SYSTEM, Actor, Origin
from domain.audit import AuditAction
from domain.enums import Role
from domain.ids import IdKind
from domain.time import clock

_table = table(ApiKey)
_key = _table.c
_project = table(Project).c

PREFIX = "fr_"
"""Prefix of every API key."""
SESSIONS_KEPT = timedelta(days=7)
"""Time for which `apiKeys` shows the sessions of people after they expired."""
USE_PRECISION = timedelta(minutes=5)
"""Largest age of `last_used_at` while a key is in use. Each key costs at most one write in this time."""


class ActiveKey(NamedTuple):
    """A key that is neither revoked nor expired."""

    id: UUID
    project_id: UUID | None
    """The project of the key; None for an operator key, which is for all projects."""
    role: str
    payloads: bool
    cost_per_minute: int | None
    name: str
    expires_at: datetime | None
    last_used_at: datetime | None
    user_id: UUID | None
    """The person whose session it is; None for a key."""
    granted_project_ids: str | None
    """JSON text: the projects for which this person may have a session; None for a key."""


class ListedKey(NamedTuple):
    """A key as the command line lists it."""

    id: UUID
    role: str
    name: str
    hint: str
    """The first characters of the secret."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    project: str | None
    """The name of its project; None for an operator key."""


def new_secret() -> str:
    """Returns a secret with 256 random bits."""
    return secret_tokens.new_token(PREFIX)


def create(
    uow: UnitOfWork,
    *,
    project_id: UUID | None,
    role: Role,
    name: str,
    secret: str | None = None,
    lifetime: timedelta | None = None,
    expires_at: datetime | None = None,
    key_id: UUID | None = None,
    payloads: bool = True,
    cost_per_minute: int | None = None,
    origin: Origin = BY_SYSTEM,
) -> str:
    """Inserts a key; returns its secret. Without a project it is an operator key, for all projects.

    Without `payloads` the key cannot read payloads. It expires after `lifetime`, or at `expires_at`, or never. Its ID
    is `key_id`, or a new one. Its operations may cost `cost_per_minute`, or else what the service allows by default.
    """
    values = {
        "project_id": project_id,
        "role": role,
        "payloads": payloads,
        "name": name,
        "cost_per_minute": cost_per_minute,
    }
    key_id = key_id or ids.new_uuid()
    expires_at = clock.now() + lifetime if lifetime else expires_at
    secret = _insert(uow, key_id, secret or new_secret(), values, expires_at, origin)
    details = {
        "name": name,
        "role": role,
        "payloads": payloads,
        "costPerMinute": cost_per_minute,
        "expiresAt": expires_at,
    }
    audit_events.record(uow, origin, AuditAction.CREATE_API_KEY, IdKind.API_KEY, key_id, project_id, details=details)
    return secret


def create_session(
    uow: UnitOfWork,
    user: Actor,
    *,
    project_id: UUID | None,
    role: Role,
    granted_project_ids: Sequence[UUID],
    lifetime: timedelta,
    replaces_id: UUID | None,
    request_id: str | None,
) -> str:
    """Inserts the session of a person who signed in; returns its secret. Without a project it sees all projects.

    It ends the session `replaces_id` of the same person, so that a change of the project leaves one session.
    """
    origin, key_id, expires_at = Origin(user, request_id), ids.new_uuid(), clock.now() + lifetime
    listed = orjson.dumps([str(granted) for granted in granted_project_ids]).decode()
    values = {"project_id": project_id, "role": role, "name": user.name, "user_id": user.id}
    secret = _insert(uow, key_id, new_secret(), {**values, "granted_project_ids": listed}, expires_at, origin)
    if replaces_id is not None:
        replaced = update(_table).where(_key.id == replaces_id, _key.user_id == user.id, _key.revoked_at.is_(None))
        if uow.conn.execute(replaced.values(revoked_at=clock.now())).rowcount:
            uow.publish_after_commit(pubsub.KEY_REVOKED)
    details = {"name": user.name, "role": role, "expiresAt": expires_at}
    assert user.id is not None
    audit_events.record(uow, origin, AuditAction.SIGN_IN, IdKind.USER, user.id, project_id, details=details)
    return secret


def end_session(uow: UnitOfWork, key_id: UUID, origin: Origin) -> None:
    """Revokes the session of a person who signs out."""
    statement = update(_table).where(_key.id == key_id, _key.user_id.is_not(None), _key.revoked_at.is_(None))
    ended = uow.conn.execute(statement.values(revoked_at=clock.now()).returning(_key.project_id, _key.user_id)).first()
    if ended is not None:
        uow.publish_after_commit(pubsub.KEY_REVOKED)
        audit_events.record(uow, origin, AuditAction.SIGN_OUT, IdKind.USER, ended.user_id, ended.project_id)


def purge_sessions(uow: UnitOfWork) -> int:
    """Deletes the sessions of people that expired more than `SESSIONS_KEPT` ago; returns their number."""
    is_old = _key.expires_at <= clock.now() - SESSIONS_KEPT
    return uow.conn.execute(delete(_table).where(_key.user_id.is_not(None), is_old)).rowcount


def rotate(
    uow: UnitOfWork, key: ApiKeyRow, old_ends_at: datetime, expires_at: datetime | None, new_id: UUID, origin: Origin
) -> str:
    """Inserts a key, `new_id`, that replaces the locked `key`; returns its secret.

    The new key gets the saved views of the old one. The old key expires at `old_ends_at`, or at its own earlier expiry.
    Without `expires_at`, the new key gets the lifetime of the old one.
    """
    if expires_at is None and key.expires_at is not None:
        expires_at = clock.now() + (key.expires_at - key.created_at)
    kept = {name: getattr(key, name) for name in ("project_id", "role", "payloads", "name", "cost_per_minute")}
    values = {**kept, "replaces_id": key.id}
    secret = _insert(uow, new_id, new_secret(), values, expires_at, origin)
    ends_at = min(old_ends_at, key.expires_at) if key.expires_at is not None else old_ends_at
    uow.conn.execute(update(_table).where(_key.id == key.id).values(expires_at=ends_at))
    saved_views.hand_over(uow, key.id, new_id)
    uow.publish_after_commit(pubsub.KEY_REVOKED)  # The key ends earlier than other processes remember.
    details = {"newKeyId": ids.encode(IdKind.API_KEY, new_id), "expiresAt": ends_at, "newExpiresAt": expires_at}
    audit_events.record(
        uow, origin, AuditAction.ROTATE_API_KEY, IdKind.API_KEY, key.id, key.project_id, details=details
    )
    return secret


def _insert(
    uow: UnitOfWork,
    key_id: UUID,
    secret: str,
    values: Mapping[str, object],
    expires_at: datetime | None,
    origin: Origin,
) -> str:
    row = {
        **values,
        "id": key_id,
        "secret_hash": secret_tokens.hash_token(secret),
        "hint": secret[: secret_tokens.HINT_LENGTH],
        "created_by": origin.actor.text,
        "created_at": clock.now(),
        "expires_at": expires_at,
    }
    uow.conn.execute(insert(_table).values(row))
    return secret


def by_secret(conn: Connection, secret: str) -> ActiveKey | None:
    """Returns the active key with this secret, or None."""
    return by_hash(conn, secret_tokens.hash_token(secret))


def by_hash(conn: Connection, secret_hash: str) -> ActiveKey | None:
    """Returns the active key whose secret has this hash, or None."""
    return _active(conn, _key.secret_hash == secret_hash)


def active(conn: Connection, key_id: UUID) -> ActiveKey | None:
    """Returns the key with this ID if it is active, or None."""
    return _active(conn, _key.id == key_id)


def _active(conn: Connection, condition: ColumnElement[bool]) -> ActiveKey | None:
    row = conn.execute(select(*(_key[name] for name in ActiveKey._fields)).where(condition, _is_active())).first()
    return ActiveKey(*row) if row is not None else None


def active_ids(conn: Connection, key_ids: Sequence[UUID]) -> set[UUID]:
    """Returns the active keys among `key_ids`."""
    return set(conn.execute(select(_key.id).where(_key.id.in_(key_ids), _is_active())).scalars())


def _is_active() -> ColumnElement[bool]:
    return and_(_key.revoked_at.is_(None), or_(_key.expires_at.is_(None), _key.expires_at > clock.now()))


def is_known(conn: Connection, secret: str) -> bool:
    """True if a key with this secret was ever created, active or not."""
    return conn.execute(select(_key.id).where(_key.secret_hash == secret_tokens.hash_token(secret))).first() is not None


def change(uow: UnitOfWork, key: ApiKeyRow, columns: Mapping[str, Any], origin: Origin) -> None:
    """Sets columns of the locked `key`."""
    if columns:
        uow.conn.execute(update(_table).where(_key.id == key.id).values(**columns))
        uow.publish_after_commit(pubsub.KEY_REVOKED)  # processes forget what they know of keys
    details = audit_events.changes({name: getattr(key, name) for name in columns}, columns)
    audit_events.record(
        uow, origin, AuditAction.UPDATE_API_KEY, IdKind.API_KEY, key.id, key.project_id, details=details
    )


def revoke(uow: UnitOfWork, key_id: UUID, origin: Origin = BY_SYSTEM) -> bool:
    """Revokes a key. Returns False if the key does not exist, or was revoked before."""
    statement = update(_table).where(_key.id == key_id, _key.revoked_at.is_(None)).values(revoked_at=clock.now())
    revoked = uow.conn.execute(statement.returning(_key.project_id, _key.name)).first()
    if revoked is None:
        return False
    uow.publish_after_commit(pubsub.KEY_REVOKED)
    project_id, name = revoked
    details = {"name": name}
    audit_events.record(uow, origin, AuditAction.REVOKE_API_KEY, IdKind.API_KEY, key_id, project_id, details=details)
    return True


def record_uses(uow: UnitOfWork, uses: Mapping[UUID, datetime]) -> None:
    """Writes when keys were used, unless a use within `USE_PRECISION` before has been written."""
    for key_id, used_at in sorted(uses.items()):  # All processes use the same order, so that they do not deadlock.
        is_stale = or_(_key.last_used_at.is_(None), _key.last_used_at <= used_at - USE_PRECISION)
        uow.conn.execute(update(_table).where(_key.id == key_id, is_stale).values(last_used_at=used_at))


def locked(uow: UnitOfWork, key_id: UUID) -> ApiKeyRow | None:
    """Returns a key, locked against other changes; None if it does not exist."""
    row: ApiKeyRow | None = fetch_first(uow.conn, select(_table).where(_key.id == key_id).with_for_update())
    return row


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, ApiKeyRow]:
    """Returns the keys with these IDs, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_key.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """A filter of keys. A field that is None restricts nothing."""

    project_ids: Sequence[UUID] | None = None
    active: bool | None = None
    """True for keys that are neither revoked nor expired, False for the other keys."""


def _matches(where: KeyFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if where.project_ids is not None:
        conditions.append(_key.project_id.in_(where.project_ids))
    if where.active is not None:
        conditions.append(_is_active() if where.active else not_(_is_active()))
    return and_(*conditions)


LISTING = Listing(_table, _matches)
"""The keys of all projects."""


def listed(conn: Connection) -> Sequence[ListedKey]:
    """Returns all keys, oldest first."""
    columns = (_key.id, _key.role, _key.name, _key.hint, _key.created_at, _key.expires_at, _key.revoked_at)
    query = select(*columns, _key.last_used_at, _project.name.label("project")).join_from(
        _table, table(Project), _key.project_id == _project.id, isouter=True
    )
    return [ListedKey(*row) for row in conn.execute(query.order_by(_key.id))]
