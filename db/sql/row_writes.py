"""Writes of rows whose statements SQLAlchemy compiles once, and SQLite's driver executes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update

KEEPING_NO_UNDO = "OR FAIL"
"""How SQLite handles a violated constraint in a statement that changes runs and so fires triggers.

By default it copies each page before the statement changes it, so that the statement alone can be undone. That took
two thirds of the time of an INSERT, and three quarters of that of an UPDATE of one run. Nothing needs it: the savepoint
of a unit of work undoes the whole unit. A statement whose triggers call functions makes the copies in any case, so
none does (`db.runs.indexes`), unless the search is on.
"""

_Row = Mapping[str, Any]
_Arguments = tuple[Any, ...]


class RowWrite:
    """An INSERT or UPDATE that is executed for many rows.

    SQLAlchemy collects and names the parameters of each row before it orders them. For a row of the event log that
    takes half as long as SQLite takes to insert it. On SQLite this orders them at once.
    """

    def __init__(self, statement: Insert | Update) -> None:
        """The statement must have no parameters whose SQL depends on their values, such as IN, and return no rows."""
        self._statement = statement
        self._compiled: dict[tuple[str, ...], tuple[str, Callable[[_Row], _Arguments]]] = {}

    def execute(self, conn: Connection, rows: Sequence[_Row]) -> None:
        """Executes the statement for each row; `rows` must not be empty, and all have the same keys."""
        if conn.dialect.name != "sqlite":
            conn.execute(self._statement, rows)
            return
        names = tuple(rows[0])
        if (compiled := self._compiled.get(names)) is None:
            compiled = self._compiled[names] = _compile(self._statement, names, conn.dialect)
        text, arguments_of = compiled
        conn.exec_driver_sql(text, list(map(arguments_of, rows)))


def _compile(
    statement: Insert | Update, names: Sequence[str], dialect: Dialect
) -> tuple[str, Callable[[_Row], _Arguments]]:
    """Returns the text of a statement for rows with these keys, and the function that orders the values of a row."""
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names))
    constants: _Row = {name: value for name, value in compiled.params.items() if name not in names}
    arguments = [
        (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in compiled.positiontup
    ]

    def arguments_of(row: _Row) -> _Arguments:
        values = {**constants, **row} if constants else row
        return tuple([values[name] if convert is None else convert(values[name]) for name, convert in arguments])

    return compiled.string, arguments_of
