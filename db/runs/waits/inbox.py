"""Reads of input requests over all runs: lists, and single requests by their IDs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, select, true

from db.models import InputRequest
from db.models.types import table
from db.row_json.listing import TextListing
from db.row_types import InputRequestRow
from db.sql.rows import fetch_all, select_columns
from domain import ids
from domain.runs.input_request_filter import InputRequestFilter

TABLE = "input_request"
"""The name of the table."""

_table = table(InputRequest)
_request = _table.c


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, InputRequestRow]:
    """Returns the input requests `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_request.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def _matches(where: InputRequestFilter, now: datetime) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    lists = (
        (_request.project_id, where.project_ids),
        (_request.id, where.ids),
        (_request.run_id, where.run_ids),
        (_request.flow_id, where.flow_ids),
        (_request.status, where.statuses),
        (_request.assignee, where.assignees),
    )
    for column, values in lists:
        if values is not None:
            # One value is the usual case. With `=` the planner uses the order of an index.
            conditions.append(column == values[0] if len(values) == 1 else column.in_(values))
    if where.unassigned is not None:
        conditions.append(_request.assignee.is_(None) if where.unassigned else _request.assignee.is_not(None))
    bounds = (
        (_request.id, where.created_from(now), where.created_until(now)),
        (_request.expires_at, where.expires_from(now), where.expires_until(now)),
    )
    for column, earliest, before in bounds:
        is_id = column is _request.id
        if earliest is not None:
            conditions.append(column >= (ids.first_uuid_at(earliest) if is_id else earliest))
        if before is not None:
            conditions.append(column < (ids.first_uuid_at(before) if is_id else before))
    return and_(*conditions)


LISTINGS = {descending: TextListing(_table, _matches, descending) for descending in (True, False)}
"""The input requests of all projects; True: newest first, False: oldest first."""
