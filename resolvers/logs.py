"""Reads of the logs of runs."""

from uuid import UUID

from db.runs import logs
from db.runs.logs import LogFilter
from db.sql.keyset import Edge, Position
from db.sql.rows import AnyRow
from domain.errors import InvalidArgumentError, InvalidCursorError
from domain.run_log import LogLevel
from resolvers.context import Context
from resolvers.pagination import ConnectionPage, PageArguments

MAX_SEARCH = 1_000
"""Characters to search for."""
_ORDERING = 100
"""The number by which a cursor names the order of lines; those of runs have others."""


def wanted_lines(step_name: str | None, level: LogLevel | None, search: str | None) -> LogFilter:
    """The lines that a client wants.

    Raises:
        InvalidArgumentError: `search` is too long, or has a character that no line has.
    """
    if search is not None and (len(search) > MAX_SEARCH or "\0" in search):
        raise InvalidArgumentError(f"`search` may have {MAX_SEARCH:,} characters, and no U+0000.")
    if step_name is not None and "\0" in step_name:
        raise InvalidArgumentError("`stepName` must not contain U+0000.")
    return LogFilter(step_name, level, search)


async def page(context: Context, run_id: UUID, wanted: LogFilter, arguments: PageArguments) -> ConnectionPage:
    """A page of a run's log; batched over runs."""
    asked = arguments.page(_ORDERING)
    if any(cursor is not None and cursor.id != run_id for cursor in (asked.after, asked.before)):
        raise InvalidCursorError("The cursor belongs to the log of another run.")
    rows = await context.loaders.load(logs.by_runs, run_id, wanted, asked)

    async def any_beyond(edge: Edge) -> bool:
        return bool(await context.loaders.load(logs.runs_with_more, (run_id, edge), wanted))

    return ConnectionPage(asked, rows or [], position=_position, ordering=_ORDERING, any_beyond=any_beyond)


async def count(context: Context, run_id: UUID, wanted: LogFilter, limit: int | None) -> int:
    """How many lines of a run's log are wanted; at most `limit`."""
    number = await context.loaders.load(logs.counts_by_runs, run_id, wanted) or 0
    return number if limit is None else min(number, limit)


def _position(row: AnyRow) -> Position:
    return Position(row.number, row.run_id)
