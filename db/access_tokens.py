"""Access tokens in the database: only revocations are stored."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, select

from db import api_keys
from db.api_keys import ActiveKey
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.models import RevokedToken
from db.models.types import table
from db.sql.any_of import any_of
from db.sql.insert_if_missing import InsertIfMissing
from domain.time import clock

_table = table(RevokedToken)
_token = _table.c
_INSERT = InsertIfMissing(_table)


def active_key(conn: Connection, token_id: UUID, key_id: UUID) -> ActiveKey | None:
    """Returns the key of a token if it is active, and the token was not revoked; otherwise None."""
    return None if revoked(conn, [token_id]) else api_keys.active(conn, key_id)


def revoked(conn: Connection, token_ids: Collection[UUID]) -> set[UUID]:
    """Returns the tokens among `token_ids` that were revoked."""
    return (
        set(conn.execute(select(_token.id).where(any_of(_token.id, list(token_ids)))).scalars()) if token_ids else set()
    )


def revoke(uow: UnitOfWork, token_id: UUID, expires_at: datetime) -> bool:
    """Revokes a token. Returns False if it was revoked before."""
    if not _INSERT.execute(uow.conn, {"id": token_id, "expires_at": expires_at}):
        return False
    uow.publish_after_commit(pubsub.KEY_REVOKED)
    return True


def active(conn: Connection, key_ids: Collection[UUID], token_ids: Collection[UUID]) -> set[UUID]:
    """Returns the active keys among `key_ids`, and the tokens among `token_ids` that were not revoked."""
    return api_keys.active_ids(conn, list(key_ids)) | (set(token_ids) - revoked(conn, token_ids))


def purge(uow: UnitOfWork) -> int:
    """Deletes the revocations of tokens that have expired; returns their number."""
    return uow.conn.execute(delete(_table).where(_token.expires_at <= clock.now())).rowcount
