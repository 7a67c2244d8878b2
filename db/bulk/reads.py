"""Reads of bulk operations and of their outcomes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true

from db.bulk.outcomes import OUTCOMES
from db.models import BulkOperation
from db.models.types import table
from db.row_types import BulkOperationRow, BulkOutcomeRow
from db.sql.keyset import Edge, Keyset, Page, count_up_to
from db.sql.listing import Listing
from db.sql.rows import fetch_all, select_columns
from domain.bulk import BulkReason, BulkResult, BulkStatus

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c

BY_RUN = Keyset(_outcome.run_id, None, descending=False)


@dataclass(frozen=True, slots=True)
class OutcomeFilter:
    """A filter of outcomes. A field that is None restricts nothing; an empty list matches nothing."""

    results: Sequence[BulkResult] | None = None
    reasons: Sequence[BulkReason] | None = None


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """A filter of operations in lists."""

    project_id: UUID | None
    """The project of the operations; None: all projects."""
    with_plans: bool
    """True: open plans are listed, too. False: only operations that were started are listed."""


def by_ids(
    conn: Connection, operation_ids: Sequence[UUID], columns: Collection[str]
) -> Mapping[UUID, BulkOperationRow]:
    """Returns operations by their IDs, with `columns`, `id` and `project_id`."""
    query = select(*select_columns(_operations, {*columns, "project_id"})).where(_operation.id.in_(operation_ids))
    return {row.id: row for row in fetch_all(conn, query)}


def outcomes_page(conn: Connection, operation_id: UUID, where: OutcomeFilter, page: Page) -> Sequence[BulkOutcomeRow]:
    """Returns a page of the outcomes of an operation, in the order in which the runs were created."""
    return BY_RUN.page(conn, select(OUTCOMES).where(_matches(operation_id, where)), page)


def has_more_outcomes(conn: Connection, operation_id: UUID, where: OutcomeFilter, edge: Edge) -> bool:
    """Returns True if an outcome follows the edge."""
    return BY_RUN.has_more(conn, select(_outcome.run_id).where(_matches(operation_id, where)), edge)


def outcomes_count(conn: Connection, operation_id: UUID, where: OutcomeFilter, limit: int | None) -> int:
    """Counts the matching outcomes of an operation, up to `limit`."""
    return count_up_to(conn, select(_outcome.run_id).where(_matches(operation_id, where)), limit)


class Progress(NamedTuple):
    """The operations of one kind that are being processed."""

    kind: str
    operations: int
    matched: int
    """Runs that the operations cover."""
    processed: int
    """Those that were processed."""


def progress(conn: Connection) -> Sequence[Progress]:
    """Returns the progress of the operations that are being processed, by kind."""
    sums = [func.sum(_operation[name]) for name in ("matched", "processed")]
    query = select(_operation.kind, func.count(), *sums).where(_operation.status == BulkStatus.RUNNING)
    rows = conn.execute(query.group_by(_operation.kind).order_by(_operation.kind))
    return [Progress(kind, operations, int(matched), int(processed)) for kind, operations, matched, processed in rows]


def reasons_by_operations(conn: Connection, operation_ids: Sequence[UUID]) -> Mapping[UUID, dict[str, int]]:
    """Returns for each operation the number of its skipped or failed runs by reason."""
    return _counts_by_value(conn, operation_ids, _outcome.reason)


def planned_reasons_by_operations(conn: Connection, operation_ids: Sequence[UUID]) -> Mapping[UUID, dict[str, int]]:
    """Returns for each plan the number of its runs that are ELIGIBLE, or would be skipped for a reason."""
    return _counts_by_value(conn, operation_ids, _outcome.planned_reason)


def _counts_by_value(
    conn: Connection, operation_ids: Sequence[UUID], column: ColumnElement[str]
) -> Mapping[UUID, dict[str, int]]:
    query = select(_outcome.operation_id, column, func.count()).where(
        _outcome.operation_id.in_(operation_ids), column.is_not(None)
    )
    counts: dict[UUID, dict[str, int]] = {}
    for operation_id, value, number in conn.execute(query.group_by(_outcome.operation_id, column).order_by(column)):
        counts.setdefault(operation_id, {})[value] = number
    return counts


def _is_listed(where: OperationFilter, now: datetime) -> ColumnElement[bool]:
    in_project = true() if where.project_id is None else _operation.project_id == where.project_id
    # Operations whose runs are not all pinned are never listed.
    is_started = _operation.started_at.is_not(None)
    is_open_plan = and_(_operation.status == BulkStatus.PLANNED, _operation.expires_at > now)
    return and_(in_project, or_(is_started, is_open_plan) if where.with_plans else is_started)


LISTING = Listing(_operations, _is_listed)
"""The operations of all projects."""


def _matches(operation_id: UUID, where: OutcomeFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [_outcome.operation_id == operation_id]
    if where.results is not None:
        conditions.append(_outcome.result.in_(where.results))
    if where.reasons is not None:
        conditions.append(_outcome.reason.in_(where.reasons))
    return and_(*conditions)
