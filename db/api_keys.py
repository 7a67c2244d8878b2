"""API keys. A secret is given out once, and kept as its hash alone."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select, update

from db import secret_tokens
from db.core.unit_of_work import UnitOfWork
from db.models import ApiKey, Project
from db.models.types import table
from db.sql.rows import AnyRow
from domain import clock, ids
from domain.enums import Role

_table = table(ApiKey)
_key = _table.c
_project = table(Project).c

PREFIX = "fr_"


def new_secret() -> str:
    """A secret with 256 random bits."""
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
    """Insert a key; returns its secret. Without a project it is the operator's key, for all of them."""
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


def by_secret(conn: Connection, secret: str) -> AnyRow | None:
    """The key in force whose secret this is: `id`, `project_id`, `role`, `name`."""
    query = select(_key.id, _key.project_id, _key.role, _key.name).where(_in_force())
    return conn.execute(query.where(_key.secret_hash == secret_tokens.hash_token(secret))).first()


def in_force(conn: Connection, key_ids: Sequence[UUID]) -> set[UUID]:
    """Of these keys, those in force."""
    return set(conn.execute(select(_key.id).where(_key.id.in_(key_ids), _in_force())).scalars())


def _in_force() -> ColumnElement[bool]:
    return and_(_key.revoked_at.is_(None), or_(_key.expires_at.is_(None), _key.expires_at > clock.now()))


def is_known(conn: Connection, secret: str) -> bool:
    """Whether a key with this secret was ever created, in force or not."""
    return conn.execute(select(_key.id).where(_key.secret_hash == secret_tokens.hash_token(secret))).first() is not None


def revoke(uow: UnitOfWork, key_id: UUID) -> bool:
    """End a key; False when there is none in force with that ID."""
    statement = update(_table).where(_key.id == key_id, _key.revoked_at.is_(None)).values(revoked_at=clock.now())
    return uow.conn.execute(statement).rowcount == 1


def listed(conn: Connection) -> Sequence[AnyRow]:
    """All keys, oldest first, each with its project's name."""
    columns = (_key.id, _key.role, _key.name, _key.hint, _key.created_at, _key.expires_at, _key.revoked_at)
    query = select(*columns, _project.name.label("project")).join_from(
        _table, table(Project), _key.project_id == _project.id, isouter=True
    )
    return conn.execute(query.order_by(_key.id)).all()
