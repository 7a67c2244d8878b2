"""Reads of bulk operations and of their outcomes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, select, true

from db.bulk.chunks import OUTCOMES
from db.models import BulkOperation
from db.models.types import table
from db.sql.keyset import Edge, Keyset, Page
from db.sql.rows import AnyRow, select_columns
from domain.bulk import BulkReason, BulkResult

_operations = table(BulkOperation)
_operation = _operations.c
_outcome = OUTCOMES.c

NEWEST_FIRST = Keyset(_operation.id, None, descending=True)
BY_RUN = Keyset(_outcome.run_id, None, descending=False)


@dataclass(frozen=True, slots=True)
class OutcomeFilter:
    """Which outcomes are meant; None says nothing, an empty list matches nothing."""

    results: Sequence[BulkResult] | None = None
    reasons: Sequence[BulkReason] | None = None


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The operations `keys`."""
    query = select(*select_columns(_operations, {*columns, "project_id"})).where(_operation.id.in_(keys))
    return {row.id: row for row in conn.execute(query)}


def page(conn: Connection, columns: Collection[str], project_id: UUID | None, page: Page) -> Sequence[AnyRow]:
    """A page of the operations of a project (None: of all), newest first; not of plans."""
    query = select(*select_columns(_operations, columns)).where(_listed(project_id))
    rows = conn.execute(NEWEST_FIRST.slice(query, page)).all()
    return rows[::-1] if page.backward else rows


def has_more(conn: Connection, project_id: UUID | None, edge: Edge) -> bool:
    """Whether an operation stands beyond `edge`."""
    query = select(_operation.id).where(_listed(project_id), NEWEST_FIRST.beyond(edge))
    return conn.execute(query.limit(1)).first() is not None


def count(conn: Connection, project_id: UUID | None, limit: int | None) -> int:
    """How many operations there are; stops counting at `limit`."""
    query = select(_operation.id).where(_listed(project_id)).limit(limit)
    return conn.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def outcomes_page(conn: Connection, operation_id: UUID, wanted: OutcomeFilter, page: Page) -> Sequence[AnyRow]:
    """A page of the outcomes of an operation, in the order in which its runs were created."""
    query = select(OUTCOMES).where(_meant(operation_id, wanted))
    rows = conn.execute(BY_RUN.slice(query, page)).all()
    return rows[::-1] if page.backward else rows


def has_more_outcomes(conn: Connection, operation_id: UUID, wanted: OutcomeFilter, edge: Edge) -> bool:
    """Whether an outcome stands beyond `edge`."""
    query = select(_outcome.run_id).where(_meant(operation_id, wanted), BY_RUN.beyond(edge))
    return conn.execute(query.limit(1)).first() is not None


def outcomes_count(conn: Connection, operation_id: UUID, wanted: OutcomeFilter, limit: int | None) -> int:
    """How many outcomes are meant; stops counting at `limit`."""
    query = select(_outcome.run_id).where(_meant(operation_id, wanted)).limit(limit)
    return conn.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def reasons_by_operations(conn: Connection, keys: Sequence[UUID]) -> Mapping[UUID, dict[str, int]]:
    """For each operation how many of its outcomes have which reason."""
    return _tallied(conn, keys, _outcome.reason)


def planned_reasons_by_operations(conn: Connection, keys: Sequence[UUID]) -> Mapping[UUID, dict[str, int]]:
    """Returns the planned reasons of each plan, and the number of runs with each."""
    return _tallied(conn, keys, _outcome.planned_reason)


def _tallied(conn: Connection, keys: Sequence[UUID], column: ColumnElement[str]) -> Mapping[UUID, dict[str, int]]:
    query = select(_outcome.operation_id, column, func.count()).where(
        _outcome.operation_id.in_(keys), column.is_not(None)
    )
    tallies: dict[UUID, dict[str, int]] = {}
    for operation_id, word, number in conn.execute(query.group_by(_outcome.operation_id, column).order_by(column)):
        tallies.setdefault(operation_id, {})[word] = number
    return tallies


def _listed(project_id: UUID | None) -> ColumnElement[bool]:
    of_project = true() if project_id is None else _operation.project_id == project_id
    # A dry run is none, and neither is one of which nobody knows yet what it is about.
    return and_(of_project, _operation.started_at.is_not(None))


def _meant(operation_id: UUID, wanted: OutcomeFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [_outcome.operation_id == operation_id]
    if wanted.results is not None:
        conditions.append(_outcome.result.in_(wanted.results))
    if wanted.reasons is not None:
        conditions.append(_outcome.reason.in_(wanted.reasons))
    return and_(*conditions)
