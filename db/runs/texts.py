"""Pages of runs as JSON text: the same rows, in the same order, as in `db.runs.reads.page`."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ClauseElement

from db.row_json.statements import RowTexts, Statement, page_slice
from db.runs.filter import matches
from db.runs.reads import SORT_COLUMNS, keyset
from db.sql.clause_text import ClauseTexts, clause_text
from db.sql.keyset import Page
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter, RunOrder
from domain.time import clock

TABLE = "flow_run"

_KEPT_FILTERS = 2_000
"""Largest number of filters whose conditions are kept as text."""
_KEPT_IDS = 10
"""Largest number of IDs in a filter whose condition is kept."""
_filters = ClauseTexts(_KEPT_FILTERS)
_EVEN = frozenset({"project_id", "flow_id"})
"""Columns of which the index has the matching runs in the order of creation, so that one plan serves all values."""


def page(
    texts: RowTexts, where: RunFilter, order: RunOrder, page: Page, values: Mapping[str, object], *, placed: bool
) -> Statement:
    """Returns the statement for the texts of the matching runs of one page; those of a backward page are in reverse
    order.

    With `placed`, each row ends with its ID and its sort value.
    """
    dialect = texts.dialect
    sorted_by = SORT_COLUMNS[order.field]

    def build(now: datetime) -> ClauseElement:
        return matches(where, dialect, now, sorted_by=sorted_by)

    # A filter that names many runs was narrowed for this page only.
    is_kept = where.ids is None or len(where.ids) <= _KEPT_IDS
    condition = _filters.of((where, sorted_by), build, dialect) if is_kept else clause_text(build(clock.now()), dialect)
    rows = page_slice(order, lambda: keyset(order), condition, page, dialect)
    if dialect != "sqlite" and _needs_values(where, sorted_by):
        rows = rows._replace(is_planned_with_values=True)
    columns = f"{TABLE}.id, {f'{TABLE}.{sorted_by}' if sorted_by else '0'}" if placed else ""
    return texts.select(columns, rows, values)


def _needs_values(where: RunFilter, sorted_by: str | None) -> bool:
    """True if the best plan for a page depends on how many runs have the values of the filter."""
    if where.ids is not None:
        return False
    columns = {field.column for field, value in where.restrictions() if value is not Archived.EXCLUDE}
    return not columns <= (_EVEN if sorted_by is None else {"project_id"})
