"""Reads and writes of API keys. A secret is shown once; only its hash is stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select, update

from db import secret_tokens
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import ApiKey, Project
from db.models.types import table
from domain import ids
from domain.enums import Role
from domain.time import clock

_table = table(ApiKey)
_key = _table.c
_project = table(Project).c

PREFIX = "fr_"
"""The beginning of every API key."""


class ActiveKey(NamedTuple):
    """A key that is neither revoked nor expired."""

    id: UUID
    project_id: UUID | None
    """None: an operator key, for all projects."""
    role: str
    name: str
    expires_at: datetime | None


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
) -> str:
    """Inserts a key; returns its secret. Without a project it is an operator key, for all projects."""
    secret = secret or new_secret()
    now = clock.now()
    row = {
        "id": ids.new_uuid(),
        "project_id": project_id,
        "role": role,
        "name": name,
        "secret_hash": secret_tokens.hash_token(secret),
        "hint": secret[: secret_tokens.HINT_LENGTH],
        "created_at": now,
        "expires_at": now + lifetime if lifetime else None,
    }
    uow.conn.execute(insert(_table).values(row))
    return secret


def by_secret(conn: Connection, secret: str) -> ActiveKey | None:
    """Returns the active key with this secret, or None."""
    return by_hash(conn, secret_tokens.hash_token(secret))


def by_hash(conn: Connection, secret_hash: str) -> ActiveKey | None:
    """Returns the active key whose secret has this hash, or None."""
    query = select(_key.id, _key.project_id, _key.role, _key.name, _key.expires_at)
    row = conn.execute(query.where(_key.secret_hash == secret_hash, _in_force())).first()
    return ActiveKey(*row) if row is not None else None


def in_force(conn: Connection, key_ids: Sequence[UUID]) -> set[UUID]:
    """Returns those of the keys that are active."""
    return set(conn.execute(select(_key.id).where(_key.id.in_(key_ids), _in_force())).scalars())


def _in_force() -> ColumnElement[bool]:
    return and_(_key.revoked_at.is_(None), or_(_key.expires_at.is_(None), _key.expires_at > clock.now()))


def is_known(conn: Connection, secret: str) -> bool:
    """True if a key with this secret was ever created, active or not."""
    return conn.execute(select(_key.id).where(_key.secret_hash == secret_tokens.hash_token(secret))).first() is not None


def revoke(uow: UnitOfWork, key_id: UUID) -> bool:
    """Revokes a key. Returns False if there is no such key, or if it was revoked before."""
    statement = update(_table).where(_key.id == key_id, _key.revoked_at.is_(None)).values(revoked_at=clock.now())
    uow.publish_after_commit(pubsub.KEY_REVOKED)
    return uow.conn.execute(statement).rowcount == 1


def listed(conn: Connection) -> Sequence[ListedKey]:
    """Returns all keys, oldest first."""
    columns = (_key.id, _key.role, _key.name, _key.hint, _key.created_at, _key.expires_at, _key.revoked_at)
    query = select(*columns, _project.name.label("project")).join_from(
        _table, table(Project), _key.project_id == _project.id, isouter=True
    )
    return [ListedKey(*row) for row in conn.execute(query.order_by(_key.id))]
