"""Lists whose rows can also be read as JSON texts."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from db.row_json.statements import RowTexts, Statement, page_slice
from db.sql.clause_text import ClauseTexts
from db.sql.keyset import Page
from db.sql.listing import F, Listing

_KEPT_FILTERS = 500
"""Largest number of filters of one listing whose conditions are kept as text."""


@dataclass(frozen=True, slots=True)
class TextListing(Listing[F]):
    """The rows of a table by a filter, a dataclass, as rows or as JSON texts."""

    filters: ClauseTexts = field(default_factory=lambda: ClauseTexts(_KEPT_FILTERS))
    """The conditions of recent filters, as text."""

    def page_texts(
        self, texts: RowTexts, where: F, page: Page, values: Mapping[str, object], *, placed: bool
    ) -> Statement:
        """Returns the statement for the JSON texts of the rows that `page` returns, for `Database.fetch`.

        The rows of a backward page are in reverse order. With `placed`, each row ends with its ID and 0.
        """
        condition = self.filters.of(_name(where), lambda now: self.matches(where, now), texts.dialect)
        order = (self.table.name, self.descending)
        rows = page_slice(order, lambda: self.keyset, condition, page, texts.dialect)
        return texts.select(f"{self.table.name}.id, 0" if placed else "", rows, values)


def _name(where: Any) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in astuple(where))
