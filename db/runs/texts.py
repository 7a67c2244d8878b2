"""Pages of runs as JSON text: the same rows, in the same order, as `db.runs.reads.page` reads."""

from collections.abc import Mapping

from db.row_json.statements import RowTexts, Statement, page_slice
from db.runs.filter import matches
from db.runs.reads import SORT_COLUMNS, keyset
from db.sql.clause_text import ClauseTexts
from db.sql.keyset import Page
from domain.runs.run_filter import RunFilter, RunOrder

TABLE = "flow_run"

_KEPT_FILTERS = 2_000
"""Filters whose conditions are kept as text."""
_filters = ClauseTexts(_KEPT_FILTERS)


def page(
    texts: RowTexts, where: RunFilter, order: RunOrder, page: Page, values: Mapping[str, object], *, placed: bool
) -> Statement:
    """Returns the statement for the texts of the matching runs of one page; those of a backward page come last first.

    With `placed`, each row ends with its ID and its sort value.
    """
    dialect = texts.dialect
    condition = _filters.of(where, lambda now: matches(where, dialect, now), dialect)
    rows = page_slice(order, lambda: keyset(order), condition, page, dialect)
    sort_column = SORT_COLUMNS[order.field]
    columns = f"{TABLE}.id, {f'{TABLE}.{sort_column}' if sort_column else '0'}" if placed else ""
    return texts.select(columns, rows, values)
