"""Reads and writes of webhooks. A token is shown once; only its hash is stored."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from db import secret_tokens
from db.core.unit_of_work import UnitOfWork
from db.models import Webhook
from db.models.types import table
from db.row_types import WebhookRow
from db.sql.rows import fetch_all, fetch_first, group_by, select_columns
from domain import ids
from domain.time import clock

_table = table(Webhook)
_webhook = _table.c

PREFIX = "frh_"
"""Prefix of every webhook token."""


class SigningSecret(NamedTuple):
    """The signing secret of a webhook."""

    webhook_id: UUID
    project_id: UUID
    plain: str | None
    """In plain text; None: it is encrypted."""
    key_id: str | None
    sealed: str | None


_SIGNING = select(
    _webhook.id, _webhook.project_id, _webhook.signature_secret, _webhook.signature_key_id, _webhook.signature_sealed
)


def create(uow: UnitOfWork, webhook_id: UUID, values: Mapping[str, Any]) -> str:
    """Inserts a webhook; returns its token."""
    token = secret_tokens.new_token(PREFIX)
    row = {**values, **_stored(token), "id": webhook_id, "created_at": ids.created_at(webhook_id)}
    uow.conn.execute(insert(_table), row)
    return token


def secrets_not_sealed_by(
    conn: Connection, key_id: str, after: UUID | None, limit: int, *, plain: bool = False
) -> list[SigningSecret]:
    """Returns at most `limit` signing secrets that the key has not encrypted, of webhooks behind `after`.

    With `plain`, only those that no key has encrypted.
    """
    is_plain = _webhook.signature_secret.is_not(None)
    query = _SIGNING.where(is_plain if plain else or_(is_plain, _webhook.signature_key_id != key_id))
    if after is not None:
        query = query.where(_webhook.id > after)
    return [SigningSecret(*row) for row in conn.execute(query.order_by(_webhook.id).limit(limit))]


def seal_secrets(uow: UnitOfWork, changes: Iterable[tuple[SigningSecret, str, str]]) -> None:
    """Stores signing secrets as a key has encrypted them: its ID, and the text. Plain texts are deleted."""
    for secret, key_id, sealed in changes:
        values = {"signature_secret": None, "signature_key_id": key_id, "signature_sealed": sealed}
        uow.conn.execute(update(_table).where(_webhook.id == secret.webhook_id).values(**values))


def key_counts(conn: Connection) -> Mapping[str, int]:
    """Returns the number of signing secrets that each key has encrypted."""
    key_id = _webhook.signature_key_id
    return dict(conn.execute(select(key_id, func.count()).where(key_id.is_not(None)).group_by(key_id)).all())


def rotate(uow: UnitOfWork, webhook_id: UUID) -> str | None:
    """Replaces the token of a webhook; returns the new one, or None if the webhook does not exist."""
    token = secret_tokens.new_token(PREFIX)
    statement = update(_table).where(_webhook.id == webhook_id).values(**_stored(token), rotated_at=clock.now())
    return token if uow.conn.execute(statement).rowcount == 1 else None


def change(uow: UnitOfWork, webhook_id: UUID, columns: Mapping[str, Any]) -> bool:
    """Sets columns of a webhook, one or more. Returns False if the webhook does not exist."""
    return uow.conn.execute(update(_table).where(_webhook.id == webhook_id).values(**columns)).rowcount == 1


def remove(uow: UnitOfWork, webhook_id: UUID) -> bool:
    """Deletes a webhook. Its runs remain. Returns False if the webhook does not exist."""
    return uow.conn.execute(delete(_table).where(_webhook.id == webhook_id)).rowcount == 1


def count(conn: Connection, flow_id: UUID) -> int:
    """Returns the number of webhooks of a flow."""
    return conn.execute(select(func.count()).where(_webhook.flow_id == flow_id)).scalar_one()


def by_token(conn: Connection, token: str) -> WebhookRow | None:
    """Returns the webhook with this token, or None."""
    query = select(_table).where(_webhook.token_hash == secret_tokens.hash_token(token))
    row: WebhookRow | None = fetch_first(conn, query)
    return row


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, WebhookRow]:
    """Returns the webhooks `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_webhook.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def by_flows(conn: Connection, flow_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[WebhookRow]]:
    """Returns the webhooks of each flow, oldest first, with `id` and `flow_id`."""
    query = (
        select(*select_columns(_table, {*columns, "flow_id"}))
        .where(_webhook.flow_id.in_(flow_ids))
        .order_by(_webhook.id)
    )
    return group_by(fetch_all(conn, query), "flow_id")


def _stored(token: str) -> dict[str, Any]:
    return {"token_hash": secret_tokens.hash_token(token), "hint": token[: secret_tokens.HINT_LENGTH]}
