"""Declares how the database finds the value of a field: its tables and columns.

The fields of schema types carry these declarations; `db.row_json.writer` turns a selection of such fields into SQL.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from db.row_json.dialects import Dialect


class Form(Enum):
    """The form in which the value of a column is written in JSON."""

    TEXT = auto()
    """Any text, which is quoted and escaped."""
    WORD = auto()
    """Text that needs no escaping, such as the value of an enum."""
    NUMBER = auto()
    FLAG = auto()
    INSTANT = auto()
    JSON = auto()
    """JSON text, which is copied unchanged."""
    TAGS = auto()
    """A list of texts."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Its form follows from the type of the field unless `form` names one."""

    name: str
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """The ID for the UUID in a column: the prefix of the type, `_` and the digits, between `before` and `after`."""

    prefix: str
    name: str = "id"
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression over the columns of a row, in a form."""

    form: Form
    expression: Callable[[Dialect, str], str]
    """Returns the SQL, for a dialect and the alias of the row."""


@dataclass(frozen=True, slots=True)
class SameRow:
    """An object over the same row; null if the column or the expression `present` is null."""

    present: str | Computed


@dataclass(frozen=True, slots=True)
class JsonMembers:
    """An object whose fields are members of the JSON text in a column; null if the column is null."""

    name: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table that belong to a row, in an order."""

    table: str
    on: Mapping[str, str] = field(hash=False)
    """The columns of the table, each with the column of the row that it equals."""
    order: str = "id"
    where: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    """Columns with the value that they must have; None stands for null."""


@dataclass(frozen=True, slots=True)
class One:
    """The only row of a table that belongs to a row; null if there is none."""

    rows: Rows
    argument: tuple[str, str] | None = None
    """A column, and the argument of the field with the value that it must have."""


@dataclass(frozen=True, slots=True)
class Many:
    """All rows of a table that belong to a row."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Count:
    """The number of rows of a table that belong to a row."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Paged:
    """The rows of a table that belong to a row, as a Relay connection."""

    rows: Rows


Source = Column | Key | Computed | SameRow | JsonMembers | One | Many | Count | Paged


def by_key(table: str, column: str) -> One:
    """Returns the row of `table` whose ID is in `column`."""
    return One(Rows(table, {"id": column}))
