"""Reads and writes of the audit log."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    Uuid,
    and_,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)

from db.core.unit_of_work import UnitOfWork
from db.models import AuditEvent
from db.models.types import table
from db.sql.any_of import any_of
from db.sql.listing import Listing
from domain import ids
from domain.actor import Origin
from domain.audit import AuditAction, AuditFilter
from domain.ids import IdKind
from domain.text import client_name

_table = table(AuditEvent)
_event = _table.c
_INSERT = insert(_table)
# A literal, because a partial index serves only queries with its exact condition.
_RARE: ColumnElement[bool] = _event.action != literal_column("'START_RUN'")


def record(
    uow: UnitOfWork,
    origin: Origin,
    action: AuditAction,
    kind: IdKind,
    object_id: UUID,
    project_id: UUID | None,
    *,
    flow_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Inserts an event about the object `object_id`, in the transaction of the change.

    `details` is a JSON value. It must not contain a secret, because it stays after the secret was rotated.
    """
    event_id = ids.new_uuid()
    row = {
        "id": event_id,
        "project_id": project_id,
        "action": action,
        "actor": origin.actor.text,
        "actor_id": origin.actor.id,
        "object_id": object_id,
        "object_kind": kind,
        "flow_id": flow_id,
        "request_id": origin.request_id,
        "details": orjson.dumps(details).decode() if details else None,
        "created_at": ids.created_at(event_id),
    }
    uow.conn.execute(_INSERT, row)


def changes(before: Mapping[str, Any], after: Mapping[str, Any], withheld: Collection[str] = ()) -> dict[str, Any]:
    """Returns as details the columns in `after` that differ from those in `before`, by the names that clients see.

    For the columns in `withheld` it returns only that they changed, not their values.
    """
    return {
        "changes": {
            client_name(name): {} if name in withheld else {"from": before.get(name), "to": value}
            for name, value in after.items()
            if before.get(name) != value
        }
    }


def purge(uow: UnitOfWork, before: datetime, limit: int) -> int:
    """Deletes up to `limit` events that were recorded before `before`, the oldest first; returns their number."""
    # An ID begins with the time of the event, so the oldest events are the first of the primary key.
    old = select(_event.id).where(_event.id < ids.first_uuid_at(before)).order_by(_event.id).limit(limit)
    return uow.conn.execute(delete(_table).where(_event.id.in_(old))).rowcount


def erase(uow: UnitOfWork, run_ids: Sequence[UUID]) -> None:
    """Removes the details of the events about runs, and about answer links to their questions, which name recipients.

    Who did what and when stays: to whose tags a run was changed is a payload.
    """
    has_details = _event.details.is_not(None)
    uow.conn.execute(update(_table).where(any_of(_event.object_id, run_ids), has_details).values(details=None))
    # The object of the event is the link. It is younger than its run, and IDs are in the order of time.
    of_links = (_RARE, _event.action == AuditAction.CREATE_ANSWER_LINK, _event.id > min(run_ids), has_details)
    behind_prefix = len(f"{IdKind.RUN.value}_") + 1
    run_id: ColumnElement[Any]
    if uow.conn.dialect.name == "sqlite":
        run_id = func.substr(func.json_extract(_event.details, "$.runId"), behind_prefix)
    else:
        run_id = cast(func.substr(_event.details.cast(JSON)["runId"].as_string(), behind_prefix), Uuid)
    uow.conn.execute(update(_table).where(*of_links, any_of(run_id, run_ids)).values(details=None))


def _matches(where: AuditFilter, _: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    for column, values in (
        (_event.project_id, where.project_ids),
        (_event.action, where.actions),
        (_event.actor_id, where.actor_ids),
        (_event.request_id, where.request_ids),
    ):
        if values is not None:
            conditions.append(column.in_(values))
    if where.actions is not None and AuditAction.START_RUN not in where.actions:
        conditions.append(_RARE)
    if where.object_ids is not None:
        conditions.append(or_(_event.object_id.in_(where.object_ids), _event.flow_id.in_(where.object_ids)))
    if where.created_after is not None:
        conditions.append(_event.id >= ids.first_uuid_at(where.created_after))
    if where.created_before is not None:
        conditions.append(_event.id < ids.first_uuid_at(where.created_before))
    return and_(*conditions)


LISTING = Listing(_table, _matches)
"""The events of all projects."""
