"""Writes JSON in the SQL of each database: the same bytes as orjson and the scalars of the schema.

An expression of a value that is null is null, unless its docstring says otherwise. A row with a null in a required
field has no text, and the statement that contains it fails.
"""

from collections.abc import Sequence
from typing import Protocol

_CHUNK = 8
"""Largest number of operands of one concatenation. SQLite limits the depth of an expression, which grows with each
`||`."""


class Dialect(Protocol):
    """The SQL of one database."""

    name: str

    def digits(self, column: str) -> str:
        """Returns the 32 hexadecimal digits of a UUID."""
        ...

    def text(self, column: str) -> str:
        """Returns a JSON string, quoted and escaped."""
        ...

    def number(self, expression: str) -> str:
        """Returns the digits of a whole number."""
        ...

    def flag(self, column: str) -> str:
        """Returns `true` or `false`."""
        ...

    def instant(self, column: str) -> str:
        """Returns an instant in ISO 8601, with microseconds, in UTC, without quotes."""
        ...

    def json(self, column: str) -> str:
        """Returns the JSON text in a column."""
        ...

    def tags(self, column: str) -> str:
        """Returns the JSON array of a list of texts."""
        ...

    def member(self, column: str, name: str) -> str:
        """Returns the JSON text of a member of the JSON object in a column of text."""
        ...

    def elapsed(self, start: str, end: str) -> str:
        """Returns the whole milliseconds between two instants; 0 if the end is earlier."""
        ...

    def now(self) -> str:
        """Returns the placeholder of the present instant, a parameter."""
        ...

    def array(self, item: str, tail: str, order: str) -> str:
        """Returns a subquery for the JSON texts `item` of the rows of `tail`, in an order, separated by commas."""
        ...

    def any_key(self, column: str, parameter: str) -> str:
        """Returns the condition that a UUID is one of the values of a parameter."""
        ...


class PostgreSQL:
    """PostgreSQL 14 and later. The time zone of the session must be UTC."""

    name = "postgresql"

    def digits(self, column: str) -> str:
        return f"encode(uuid_send({column}), 'hex')"

    def text(self, column: str) -> str:
        return f"to_json({column})::text"

    def number(self, expression: str) -> str:
        return f"({expression})::text"

    def flag(self, column: str) -> str:
        return f"({column})::text"

    def instant(self, column: str) -> str:
        return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

    def json(self, column: str) -> str:
        return f"{column}::text"

    def tags(self, column: str) -> str:
        return f"array_to_json({column})::text"

    def member(self, column: str, name: str) -> str:
        return f"({column}::json -> '{name}')::text"

    def elapsed(self, start: str, end: str) -> str:
        return f"greatest(floor(extract(epoch FROM ({end} - {start})) * 1000), 0)"

    def now(self) -> str:
        return "«now»::timestamptz"

    def array(self, item: str, tail: str, order: str) -> str:
        return f"(SELECT coalesce(string_agg({item}, ',' ORDER BY {order}), '') {tail})"

    def any_key(self, column: str, parameter: str) -> str:
        return f"{column} = ANY («{parameter}»::uuid[])"


class SQLite:
    """SQLite 3.38 and later."""

    name = "sqlite"

    def digits(self, column: str) -> str:
        return column

    def text(self, column: str) -> str:
        # For null, json_quote would return the JSON text `null`.
        return f"CASE WHEN {column} IS NOT NULL THEN json_quote({column}) END"

    def number(self, expression: str) -> str:
        return expression

    def flag(self, column: str) -> str:
        return f"CASE {column} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"

    def instant(self, column: str) -> str:
        # Rounded towards the past, also before 1970: the division of SQLite rounds towards zero.
        micros = f"((({column}) % 1000000 + 1000000) % 1000000)"
        seconds = f"((({column}) - {micros}) / 1000000)"
        return f"strftime('%Y-%m-%dT%H:%M:%S.', {seconds}, 'unixepoch') || substr(1000000 + {micros}, 2) || 'Z'"

    def json(self, column: str) -> str:
        return column

    def tags(self, column: str) -> str:
        return column

    def member(self, column: str, name: str) -> str:
        return f"({column} -> '$.{name}')"

    def elapsed(self, start: str, end: str) -> str:
        return f"max(({end} - {start}) / 1000, 0)"

    def now(self) -> str:
        return "«now»"

    def array(self, item: str, tail: str, order: str) -> str:
        inner = f"SELECT {item} AS item {tail} ORDER BY {order}"
        return f"(SELECT coalesce(group_concat(item, ','), '') FROM ({inner}))"  # noqa: S608

    def any_key(self, column: str, parameter: str) -> str:
        return f"{column} IN (SELECT value FROM json_each(«{parameter}»))"  # noqa: S608 - names of ours


DIALECTS: dict[str, Dialect] = {"postgresql": PostgreSQL(), "sqlite": SQLite()}


def quoted(text: str) -> str:
    """Returns the SQL literal of a text."""
    return "'" + text.replace("'", "''") + "'"


def concatenated(operands: Sequence[str]) -> str:
    """Returns the concatenation of SQL expressions of text, as a shallow tree."""
    while len(operands) > _CHUNK:
        groups = [operands[start : start + _CHUNK] for start in range(0, len(operands), _CHUNK)]
        operands = [f"({' || '.join(group)})" if len(group) > 1 else group[0] for group in groups]
    return " || ".join(operands)
