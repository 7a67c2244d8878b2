"""The log of a run, as a list of lines."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from db.row_types import LogLineRow
from db.runs.output import logs
from db.runs.output.logs import LogFilter
from db.sql.keyset import Edge, Page, Position
from domain.errors import InvalidArgumentError, InvalidCursorError
from domain.runs.run_log import LogLevel
from resolvers import values
from resolvers.context import Context

MAX_SEARCH_LENGTH = 1_000
"""Largest number of characters of the searched text."""
_ORDERING = 100
"""The number by which a cursor names the order of lines; the orders of runs have others."""


def check_filter(step_name: str | None, level: LogLevel | None, search: str | None) -> LogFilter:
    """Returns the filter of the requested lines.

    Raises:
        InvalidArgumentError: `search` is too long, or a text has a character that no line has.
    """
    if search is not None and (len(search) > MAX_SEARCH_LENGTH or "\0" in search):
        raise InvalidArgumentError(
            f"`search` must have at most {MAX_SEARCH_LENGTH:,} characters and must not contain U+0000."
        )
    if step_name is not None:
        values.check_storable("stepName", step_name)
    return LogFilter(step_name, level, search)


@dataclass(frozen=True, slots=True)
class LogLines:
    """The lines of a run's log that match a filter, in order. Reads are batched over runs."""

    context: Context
    run_id: UUID
    where: LogFilter
    ordering: int = _ORDERING

    async def page(self, _: Collection[str], page: Page) -> Sequence[LogLineRow]:
        """Returns the lines of a page, with all columns.

        Raises:
            InvalidCursorError: a cursor belongs to the log of another run.
        """
        if any(cursor is not None and cursor.id != self.run_id for cursor in (page.after, page.before)):
            raise InvalidCursorError("The cursor belongs to the log of another run.")
        return await self.context.loaders.load(logs.by_runs, self.run_id, self.where, page) or []

    async def has_more(self, edge: Edge) -> bool:
        """True if a line follows `edge`."""
        return bool(await self.context.loaders.load(logs.runs_with_more, (self.run_id, edge), self.where))

    async def count(self, limit: int | None) -> int:
        """Returns the number of lines, at most `limit`."""
        number = await self.context.loaders.load(logs.counts_by_runs, self.run_id, self.where) or 0
        return number if limit is None else min(number, limit)

    def position(self, row: LogLineRow) -> Position:
        """Returns the position of a line."""
        return Position(row.number, row.run_id)
