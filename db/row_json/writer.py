"""Turns a selection of declared fields into the SQL expression of a row's JSON text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from db.row_json.dialects import Dialect, concatenated, quoted
from db.row_json.sources import Column, Computed, Count, Form, JsonMembers, Key, Many, One, Paged, Rows, SameRow

BROKEN = "\x01"
"""Marks in a text the place of a missing row that must exist. JSON text never contains this character."""
CURSOR = "\x02"
"""Marks in a text the place of the row's cursor. In nested connections it appears twice, around the position of a
row."""
_QUOTED = frozenset({Form.WORD, Form.INSTANT})
_PARAMETER = re.compile("«([^»]*)»")


@dataclass(frozen=True, slots=True)
class Object:
    """A JSON object over a row: its keys and values, in order."""

    members: Sequence[tuple[str, "Node"]]


@dataclass(frozen=True, slots=True)
class Literal:
    """JSON text that is known when the statement is written."""

    text: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without fields."""

    source: Column | Key | Computed | Count
    form: Form
    is_required: bool
    words: tuple[str, ...] = ()
    """The possible values of a column with an enum. Any other value makes the text null."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of JSON text: see `JsonMembers`."""

    name: str


@dataclass(frozen=True, slots=True)
class Nested:
    """An object or a list of objects over other rows, or over this one."""

    source: SameRow | JsonMembers | One | Many
    object: Object
    is_required: bool
    argument: str | None = None
    """The name of the parameter for the source's argument."""


@dataclass(frozen=True, slots=True)
class PageSize:
    """The size and the direction of a nested page. It begins at an end of the list."""

    size: int
    backward: bool


@dataclass(frozen=True, slots=True)
class NestedConnection:
    """A connection over the rows that belong to a row."""

    source: Paged
    page: PageSize
    members: Sequence[tuple[str, "ConnectionMember"]]


@dataclass(frozen=True, slots=True)
class Items:
    """The nodes or the edges of a connection."""

    object: Object


@dataclass(frozen=True, slots=True)
class RowCursor:
    """The cursor of the row."""


@dataclass(frozen=True, slots=True)
class EdgeNode:
    """The node of an edge: an object over the same row."""

    object: Object


@dataclass(frozen=True, slots=True)
class PageInfo:
    """The page info of a connection: keys with the names of fields, or literals."""

    members: Sequence[tuple[str, str | Literal]]


@dataclass(frozen=True, slots=True)
class Total:
    """The number of rows in a connection, at most `limit`."""

    limit: int | None


ConnectionMember = Items | PageInfo | Total | Literal
Node = Literal | Leaf | Member | Nested | NestedConnection | RowCursor | EdgeNode


@dataclass(frozen=True, slots=True)
class _Text:
    """Literal text among SQL expressions."""

    text: str


_Pieces = Iterator["str | _Text"]


class Writer:
    """Writes expressions over the rows of one statement."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._aliases = (f"t{number}" for number in count(1))

    def object(self, selected: Object, alias: str) -> str:
        """Returns the SQL expression of the JSON text of `selected`, over the row called `alias`."""
        return self._joined(self._object(selected, alias))

    def _item(self, selected: Object, alias: str) -> str:
        """Like `object`, for an item of a list. It is BROKEN instead of null, which an aggregate would omit."""
        return f"coalesce({self.object(selected, alias)}, {quoted(BROKEN)})"

    def _object(self, selected: Object, alias: str) -> _Pieces:
        before = "{"
        for key, node in selected.members:
            yield _Text(f'{before}"{key}":')
            yield from self._node(node, alias)
            before = ","
        yield _Text("}" if selected.members else "{}")

    def _joined(self, pieces: _Pieces) -> str:
        operands: list[str] = []
        literal = ""
        for piece in pieces:
            if isinstance(piece, _Text):
                literal += piece.text
                continue
            if literal:
                operands.append(quoted(literal))
            operands.append(piece)
            literal = ""
        if literal:
            operands.append(quoted(literal))
        if len(operands) == 1:
            return f"CAST({operands[0]} AS text)"
        return concatenated(operands)

    def _node(self, node: Node, alias: str) -> _Pieces:  # noqa: C901 - one case a class
        match node:
            case Literal(text):
                yield _Text(text)
            case Leaf():
                yield from self._leaf(node, alias)
            case Member(name):
                yield self._dialect.member(alias, name)
            case RowCursor():
                yield _Text(f'"{CURSOR}"')
            case EdgeNode(selected):
                yield from self._object(selected, alias)
            case Nested(SameRow(present), selected):
                text = self.object(selected, alias)
                value = f"{alias}.{present}" if isinstance(present, str) else present.expression(self._dialect, alias)
                yield f"CASE WHEN {value} IS NULL THEN 'null' ELSE {text} END"
            case Nested(JsonMembers(name), selected):
                column = f"{alias}.{name}"
                yield f"CASE WHEN {column} IS NULL THEN 'null' ELSE {self.object(selected, column)} END"
            case Nested(One() as source, selected, is_required):
                yield self._one(source, selected, alias, node.argument, is_required=is_required)
            case Nested(Many(rows), selected):
                inner = next(self._aliases)
                item = self._item(selected, inner)
                yield _Text("[")
                yield self._dialect.array(item, self._from(rows, inner, alias), f"{inner}.{rows.order}")
                yield _Text("]")
            case NestedConnection():
                yield from self._connection(node, alias)

    def _leaf(self, leaf: Leaf, alias: str) -> _Pieces:
        value, source = self._value(leaf, alias), leaf.source
        if leaf.words:
            cases = " ".join(f"WHEN {quoted(word)} THEN {quoted(encoded)}" for word, encoded in _encoded(leaf.words))
            known = f"CASE {value} {cases} END"
            yield known if leaf.is_required else f"CASE WHEN {value} IS NULL THEN 'null' ELSE {known} END"
            return
        before, after = ("", "")
        if isinstance(source, Key):
            before, after = f'"{source.before}{source.prefix}_', f'{source.after}"'
        elif leaf.form in _QUOTED:
            before = after = '"'
        if leaf.is_required:
            yield _Text(before)
            yield value
            yield _Text(after)
        elif before:
            yield f"coalesce({quoted(before)} || {value} || {quoted(after)}, 'null')"
        else:
            yield f"coalesce({value}, 'null')"

    def _value(self, leaf: Leaf, alias: str) -> str:
        dialect, source = self._dialect, leaf.source
        if isinstance(source, Key):
            return dialect.digits(f"{alias}.{source.name}")
        if isinstance(source, Count):
            inner = next(self._aliases)
            return dialect.number(f"(SELECT count(*) {self._from(source.rows, inner, alias)})")
        value = source.expression(dialect, alias) if isinstance(source, Computed) else f"{alias}.{source.name}"
        match leaf.form:
            case Form.TEXT:
                return dialect.text(value)
            case Form.WORD:
                return value
            case Form.NUMBER:
                return dialect.number(value)
            case Form.FLAG:
                return dialect.flag(value)
            case Form.INSTANT:
                return dialect.instant(value)
            case Form.JSON:
                return dialect.json(value)
            case Form.TAGS:
                return dialect.tags(value)

    def _one(self, source: One, selected: Object, alias: str, argument: str | None, *, is_required: bool) -> str:
        inner = next(self._aliases)
        text = self.object(selected, inner)
        tail = self._from(source.rows, inner, alias)
        if source.argument is not None:
            tail += f" AND {inner}.{source.argument[0]} = «{argument}»"
        query = f"(SELECT {text} {tail})"
        return query if is_required else f"coalesce({query}, 'null')"

    def _from(self, rows: Rows, inner: str, outer: str) -> str:
        conditions = [f"{inner}.{there} = {outer}.{here}" for there, here in rows.on.items()]
        for name, value in rows.where.items():
            conditions.append(f"{inner}.{name} " + ("IS NULL" if value is None else f"= {quoted(value)}"))
        return f"FROM {rows.table} AS {inner} WHERE {' AND '.join(conditions)}"

    def _connection(self, connection: NestedConnection, alias: str) -> _Pieces:
        before = "{"
        for key, member in connection.members:
            yield _Text(f'{before}"{key}":')
            yield from self._connection_member(connection, member, alias)
            before = ","
        yield _Text("}" if connection.members else "{}")

    def _connection_member(self, connection: NestedConnection, member: ConnectionMember, alias: str) -> _Pieces:
        rows, page = connection.source.rows, connection.page
        match member:
            case Literal(text):
                yield _Text(text)
            case Total(limit):
                inner = next(self._aliases)
                number = f"(SELECT count(*) {self._from(rows, inner, alias)})"
                least = "least" if self._dialect.name == "postgresql" else "min"
                yield self._dialect.number(number if limit is None else f"{least}({number}, {limit})")
            case Items(selected):
                yield _Text("[")
                yield self._page(rows, page, selected, alias)
                yield _Text("]")
            case PageInfo(members):
                yield from self._page_info(rows, page, members, alias)

    def _page(self, rows: Rows, page: PageSize, selected: Object, alias: str) -> str:
        inner, outer = next(self._aliases), next(self._aliases)
        item = self._nested_cursors(self._item(selected, inner), f"{inner}.{rows.order}")
        direction = " DESC" if page.backward else ""
        tail = f"{self._from(rows, inner, alias)} ORDER BY {inner}.{rows.order}{direction} LIMIT {page.size}"
        sliced = f"FROM (SELECT {item} AS item, {inner}.{rows.order} AS place {tail}) AS {outer}"
        return self._dialect.array(f"{outer}.item", sliced, f"{outer}.place")

    def _nested_cursors(self, item: str, place: str) -> str:
        """Adds its position to each cursor of a row."""
        own = f'"{CURSOR}"'
        if own not in item:
            return item
        position = self._dialect.digits(place)
        return item.replace(own, f"\"{CURSOR}' || {position} || '{CURSOR}\"")

    def _page_info(
        self, rows: Rows, page: PageSize, members: Sequence[tuple[str, str | Literal]], alias: str
    ) -> _Pieces:
        before = "{"
        for key, field in members:
            yield _Text(f'{before}"{key}":')
            before = ","
            if isinstance(field, Literal):
                yield _Text(field.text)
            elif field in ("startCursor", "endCursor"):
                yield self._end_cursor(rows, page, alias, first=field == "startCursor")
            elif (field == "hasNextPage") is page.backward:
                yield _Text("false")  # The page reaches to that end of the list.
            else:
                inner = next(self._aliases)
                beyond = f"SELECT 1 {self._from(rows, inner, alias)} LIMIT 1 OFFSET {page.size}"
                yield f"CASE WHEN EXISTS ({beyond}) THEN 'true' ELSE 'false' END"
        yield _Text("}" if members else "{}")

    def _end_cursor(self, rows: Rows, page: PageSize, alias: str, *, first: bool) -> str:
        inner, outer = next(self._aliases), next(self._aliases)
        extreme = "ASC" if first else "DESC"
        direction = "DESC" if page.backward else "ASC"
        place = f"{inner}.{rows.order}"
        tail = f"{self._from(rows, inner, alias)} ORDER BY {place} {direction} LIMIT {page.size}"
        digits = self._dialect.digits(f"{outer}.place")
        mark = quoted(f'"{CURSOR}') + f" || {digits} || " + quoted(f'{CURSOR}"')
        query = (
            f"SELECT {mark} FROM (SELECT {place} AS place {tail}) AS {outer} ORDER BY {outer}.place {extreme} LIMIT 1"  # noqa: S608
        )
        return f"coalesce(({query}), 'null')"


def _encoded(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((word, f'"{word}"') for word in words)


def number_parameters(text: str, dialect: Dialect) -> tuple[str, Sequence[str]]:
    """Returns `text` with its parameters in the notation of the driver, and their names in order."""
    numbers: dict[str, int] = {}
    mark = "$" if dialect.name == "postgresql" else "?"

    def place(found: re.Match[str]) -> str:
        return f"{mark}{numbers.setdefault(found.group(1), len(numbers) + 1)}"

    return _PARAMETER.sub(place, text), tuple(numbers)
