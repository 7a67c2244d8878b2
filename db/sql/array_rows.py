"""Statements for many rows, whose parameters are an array for each column.

On PostgreSQL a statement for each row costs several times as much: its parameters are converted, sent and received one
by one, and each execution looks up its constraints and executes the triggers by itself.

A single row has the statement of its own: statements with arrays are planned at each execution, because PostgreSQL
expects fewer rows of an array that it knows than of any array. Planning took a run that is executed alone 11 ms.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Table, Update, bindparam, column, func, insert, select, update
from sqlalchemy.types import TypeEngine

from db.sql.row_writes import RowWrite


class _ArrayRows:
    """The rows of the parameters of a statement on PostgreSQL."""

    def __init__(self, types: Mapping[str, TypeEngine[Any]]) -> None:
        self._names = tuple(types)
        arrays = func.unnest(*(bindparam(f"all_{name}", type_=ARRAY(type_)) for name, type_ in types.items()))
        rows = arrays.table_valued(*(column(name, type_) for name, type_ in types.items()))
        self.columns: Mapping[str, ColumnElement[Any]] = dict(rows.render_derived("given").c.items())
        """The columns by name. Their FROM clause has the rows in order."""

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Returns the parameters for these rows. Other values in them are ignored."""
        return {f"all_{name}": [row[name] for row in rows] for name in self._names}


class ArrayInsert:
    """Inserts rows that have values for some columns of a table: on PostgreSQL all at once."""

    def __init__(self, target: Table, columns: Sequence[str]) -> None:
        self._rows = _ArrayRows({name: target.c[name].type for name in columns})
        self._one = RowWrite(insert(target).inline())
        self._all = insert(target).inline().from_select(list(columns), select(*self._rows.columns.values()))

    def execute(self, conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Inserts the rows, in this order."""
        if conn.dialect.name == "sqlite" or len(rows) == 1:
            self._one.execute(conn, rows)
        else:
            conn.execute(self._all, self._rows.parameters(rows))


class ArrayUpdate:
    """Updates rows, each with values of its own: on PostgreSQL all at once."""

    def __init__(
        self,
        target: Table,
        where: Mapping[str, ColumnElement[Any]],
        values: Mapping[str, ColumnElement[Any]],
        finish: Callable[[Update, Mapping[str, ColumnElement[Any]]], Update] = lambda statement, _: statement,
    ) -> None:
        """The rows are those where the columns in `where` equal the values with these names; the columns in `values`
        are set to the values with these names.

        `finish` adds to the statement what needs more; it gets the values by name.
        """
        columns = {**where, **values}

        def build(given: Mapping[str, ColumnElement[Any]]) -> Update:
            statement = update(target).where(*(column == given[name] for name, column in where.items()))
            return finish(statement.values({column: given[name] for name, column in values.items()}), given)

        self._rows = _ArrayRows({name: column.type for name, column in columns.items()})
        self.one = build({name: bindparam(name, type_=column.type) for name, column in columns.items()})
        """The statement for one row, whose parameters are the values by name."""
        self._each = RowWrite(self.one)
        self._all = build(self._rows.columns)

    def execute(self, conn: Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Executes the statement for the values of each row."""
        if not values:
            return
        if conn.dialect.name == "sqlite" or len(values) == 1:
            self._each.execute(conn, values)
        else:
            conn.execute(self._all, self._rows.parameters(values))
