"""Reads and writes of webhooks. A token is shown once; only its hash is stored."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

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


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> tuple[UUID, str]:
    """Inserts a webhook; returns its ID and its token."""
    webhook_id = ids.new_uuid()
    token = secret_tokens.new_token(PREFIX)
    row = {**values, **_stored(token), "id": webhook_id, "created_at": ids.created_at(webhook_id)}
    uow.conn.execute(insert(_table), row)
    return webhook_id, token


def rotate(uow: UnitOfWork, webhook_id: UUID) -> str | None:
    """Replaces the token of a webhook; returns the new one, or None if the webhook does not exist."""
    token = secret_tokens.new_token(PREFIX)
    statement = update(_table).where(_webhook.id == webhook_id).values(**_stored(token), rotated_at=clock.now())
    return token if uow.conn.execute(statement).rowcount == 1 else None


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
