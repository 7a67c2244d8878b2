"""Webhooks. A token is given out once, and kept as its hash alone."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

from db import secret_tokens
from db.core.unit_of_work import UnitOfWork
from db.models import Webhook
from db.models.types import table
from db.sql.rows import AnyRow, group_by, select_columns
from domain import clock, ids

_table = table(Webhook)
_webhook = _table.c

PREFIX = "frh_"


def create(uow: UnitOfWork, values: Mapping[str, Any]) -> tuple[UUID, str]:
    """Insert a webhook; returns its ID and its token."""
    webhook_id = ids.new_uuid()
    token = secret_tokens.new_token(PREFIX)
    row = {**values, **_kept(token), "id": webhook_id, "created_at": ids.created_at(webhook_id)}
    uow.conn.execute(insert(_table), row)
    return webhook_id, token


def rotate(uow: UnitOfWork, webhook_id: UUID) -> str | None:
    """Give a webhook another token, which is returned; None when there is no such webhook."""
    token = secret_tokens.new_token(PREFIX)
    statement = update(_table).where(_webhook.id == webhook_id).values(**_kept(token), rotated_at=clock.now())
    return token if uow.conn.execute(statement).rowcount == 1 else None


def remove(uow: UnitOfWork, webhook_id: UUID) -> bool:
    """Delete a webhook, of which the runs stay; False when there is no such webhook."""
    return uow.conn.execute(delete(_table).where(_webhook.id == webhook_id)).rowcount == 1


def count(conn: Connection, flow_id: UUID) -> int:
    """How many webhooks a flow has."""
    return conn.execute(select(func.count()).where(_webhook.flow_id == flow_id)).scalar_one()


def by_token(conn: Connection, token: str) -> AnyRow | None:
    """The webhook whose token this is."""
    return conn.execute(select(_table).where(_webhook.token_hash == secret_tokens.hash_token(token))).first()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The webhooks `keys`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_webhook.id.in_(keys))
    return {row.id: row for row in conn.execute(query)}


def by_flows(conn: Connection, flow_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[AnyRow]]:
    """The webhooks of each flow, oldest first."""
    query = (
        select(*select_columns(_table, {*columns, "flow_id"}))
        .where(_webhook.flow_id.in_(flow_ids))
        .order_by(_webhook.id)
    )
    return group_by(conn.execute(query), "flow_id")


def _kept(token: str) -> dict[str, Any]:
    return {"token_hash": secret_tokens.hash_token(token), "hint": token[: secret_tokens.HINT_LENGTH]}
