"""Reads of input requests over all runs: lists, and single requests by their IDs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, select, true

from db.models import InputRequest
from db.models.types import table
from db.row_json.statements import RowTexts, Statement, page_slice
from db.row_types import InputRequestRow
from db.sql.clause_text import ClauseTexts
from db.sql.keyset import Edge, Keyset, Page, count_up_to
from db.sql.rows import fetch_all, select_columns
from domain import ids
from domain.runs.input_request_filter import InputRequestFilter
from domain.time import clock

TABLE = "input_request"
"""The name of the table."""

_table = table(InputRequest)
_request = _table.c
_KEYSETS = {descending: Keyset(_request.id, None, descending) for descending in (True, False)}
_KEPT_FILTERS = 500
"""Filters whose conditions are kept as text."""
_filters = ClauseTexts(_KEPT_FILTERS)


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, InputRequestRow]:
    """Returns the input requests `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_request.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def page(
    conn: Connection, columns: Collection[str], where: InputRequestFilter, page: Page, *, descending: bool
) -> Sequence[InputRequestRow]:
    """Returns the matching requests of one page, in the order of their creation."""
    query = select(*select_columns(_table, columns)).where(_matches(where, clock.now()))
    return _KEYSETS[descending].page(conn, query, page)


def page_texts(
    texts: RowTexts,
    where: InputRequestFilter,
    page: Page,
    values: Mapping[str, object],
    *,
    descending: bool,
    placed: bool,
) -> Statement:
    """Returns the statement for the JSON texts of the requests that `page` returns, for `Database.fetch`.

    The rows of a backward page come last first. With `placed`, each row ends with its ID and 0.
    """
    dialect = texts.dialect
    name = tuple(tuple(value) if isinstance(value, list) else value for value in astuple(where))
    condition = _filters.of(name, lambda now: _matches(where, now), dialect)
    rows = page_slice((TABLE, descending), lambda: _KEYSETS[descending], condition, page, dialect)
    return texts.select(f"{TABLE}.id, 0" if placed else "", rows, values)


def has_more(conn: Connection, where: InputRequestFilter, edge: Edge, *, descending: bool) -> bool:
    """True if a matching request stands beyond `edge`."""
    query = select(_request.id).where(_matches(where, clock.now()))
    return _KEYSETS[descending].has_more(conn, query, edge)


def count(conn: Connection, where: InputRequestFilter, limit: int | None) -> int:
    """Returns the number of matching requests. Counting stops at `limit`."""
    return count_up_to(conn, select(_request.id).where(_matches(where, clock.now())), limit)


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
            # One value is the usual case, and with `=` the planner uses the order of an index.
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
