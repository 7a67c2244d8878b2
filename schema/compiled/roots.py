"""The root fields that are compiled: each calls the same functions as its resolver, and gets JSON texts instead of
rows."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from graphql import FieldNode, GraphQLField, GraphQLObjectType
from graphql.execution.values import get_argument_values
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from db.row_json.statements import RowTexts
from db.row_json.writer import BROKEN, CURSOR, Literal, Object
from db.runs import texts as run_texts
from db.runs.waits import inbox
from db.sql.keyset import Edge, Page, Position
from domain import ids
from domain.errors import InvalidArgumentError
from domain.ids import IdKind
from resolvers import texts
from resolvers.context import Context
from resolvers.cursors import encode_position
from resolvers.flow_runs.runs import OLDEST_FIRST_ORDERING
from schema import query
from schema.compiled.environment import Environment, Request, UncoveredError
from schema.compiled.selections import BACKREF, Planner, encode, named
from schema.queries.inbox import input_request_list
from schema.relay.connection import ConnectionPage, PageArguments

Values = Mapping[str, object]
"""The values of the parameters in selections."""
Run = Callable[[Context, Request, Values], Awaitable[str]]
"""Returns the JSON text of a root field."""
_NESTED_CURSOR = re.compile(f"{CURSOR}([0-9a-f]{{32}}){CURSOR}")


class UnexpectedError(Exception):
    """The database returned a value that a plan does not expect, such as null for a value that is not null."""


class TextSource(Protocol):
    """The rows of a connection as JSON texts, which the database writes."""

    @property
    def ordering(self) -> int: ...

    async def texts(self, texts: RowTexts, page: Page, values: Values, *, placed: bool) -> Sequence[Sequence[Any]]: ...

    def text_position(self, key: Any, value: Any) -> Position: ...

    async def has_more(self, edge: Edge) -> bool: ...

    async def count(self, limit: int | None) -> int: ...


class _Rows:
    """The order of a source for rows of texts, in the form that `ConnectionPage` expects."""

    def __init__(self, source: TextSource) -> None:
        self._source = source
        self.ordering = source.ordering
        self.has_more = source.has_more
        self.count = source.count

    def position(self, row: Sequence[Any]) -> Position:
        """Returns the position of a row, which ends with its ID and its sort value."""
        return self._source.text_position(row[-2], row[-1])


class _Texts:
    """Selections over a table, with the SQL for each dialect that was used."""

    def __init__(self, table: str, objects: Sequence[Object]) -> None:
        self._table = table
        self._objects = objects
        self._by_dialect: dict[str, RowTexts] = {}

    def of(self, dialect: str) -> RowTexts:
        found = self._by_dialect.get(dialect)
        if found is None:
            found = self._by_dialect[dialect] = RowTexts(self._table, self._objects, dialect)
        return found


class Roots:
    """Plans the root fields of one operation."""

    def __init__(self, environment: Environment, planner: Planner, convert: Callable[..., dict[str, Any]]) -> None:
        self._environment = environment
        self._planner = planner
        self._convert = convert

    def plan(self, output: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Run:
        """Returns the function that runs the root field in `nodes`.

        Raises:
            UncoveredError: only the general path can execute it.
        """
        name = nodes[0].name.value
        field = output.fields.get(name)
        if name == "__typename":
            return _constant(f'"{output.name}"')
        if field is None:
            raise UncoveredError(name)
        arguments = self._arguments(field, nodes[0])
        match name:
            case "flowRuns":
                return self._connection(named(field.type), nodes, query.run_list, arguments, run_texts.TABLE)
            case "flows":
                return self._connection(named(field.type), nodes, query.flow_list, arguments, "flow")
            case "inputRequests":
                return self._connection(named(field.type), nodes, input_request_list, arguments, inbox.TABLE)
            case "flowRun":
                return self._node(IdKind.RUN, named(field.type), nodes, arguments)
            case "flow":
                return self._node(IdKind.FLOW, named(field.type), nodes, arguments)
            case "node":
                return self._any_node(nodes, arguments)
            case "nodes":
                return self._any_nodes(nodes, arguments)
            case _:
                raise UncoveredError(f"{output.name}.{name}")

    def _arguments(self, field: GraphQLField, node: FieldNode) -> Callable[[Request], dict[str, Any]]:
        """Returns the function that computes the arguments for the resolver of a field."""
        declared: StrawberryField = field.extensions[BACKREF]

        def arguments(request: Request) -> dict[str, Any]:
            known = request.arguments.get(id(node))
            if known is None:
                known = self._convert(get_argument_values(field, node, request.variables), declared.arguments)
                request.arguments[id(node)] = known
            return dict(known)

        return arguments

    def _node(
        self, kind: IdKind, output: GraphQLObjectType, nodes: Sequence[FieldNode], arguments: Callable[..., Any]
    ) -> Run:
        of_kind = _Texts(texts.TABLES[kind].table, [self._planner.object(output, nodes)])

        async def run(context: Context, request: Request, values: Values) -> str:
            key = ids.decode(kind, arguments(request)["id"])
            found = await texts.visible(context, kind, [key], of_kind.of(context.database.dialect), values)
            return _text_or_null(found, key)

        return run

    def _by_kind(self, nodes: Sequence[FieldNode]) -> Mapping[IdKind, "_Texts | UncoveredError"]:
        """Returns the selections of all types of nodes."""
        found: dict[IdKind, _Texts | UncoveredError] = {}
        for kind, table in texts.TABLES.items():
            output = self._environment.schema.type_map[query.NODES[kind][0].__name__]
            assert isinstance(output, GraphQLObjectType)
            try:
                found[kind] = _Texts(table.table, [self._planner.object(output, nodes)])
            except UncoveredError as error:
                found[kind] = error
        return found

    def _any_node(self, nodes: Sequence[FieldNode], arguments: Callable[..., Any]) -> Run:
        by_kind = self._by_kind(nodes)

        async def run(context: Context, request: Request, values: Values) -> str:
            kind, key = ids.decode_any(arguments(request)["id"])
            of_kind = _covered(by_kind, kind).of(context.database.dialect)
            return _text_or_null(await texts.visible(context, kind, [key], of_kind, values), key)

        return run

    def _any_nodes(self, nodes: Sequence[FieldNode], arguments: Callable[..., Any]) -> Run:
        by_kind = self._by_kind(nodes)

        async def run(context: Context, request: Request, values: Values) -> str:
            named_ids = arguments(request)["ids"]
            if len(named_ids) > query.MAX_NODES:
                raise InvalidArgumentError("")  # The general path writes the message.
            keys = [ids.decode_any(text) for text in named_ids]
            kinds = dict.fromkeys(kind for kind, _ in keys)
            of_kinds = [_covered(by_kind, kind).of(context.database.dialect) for kind in kinds]
            found = await asyncio.gather(
                *(
                    texts.visible(
                        context, kind, list(dict.fromkeys(key for its, key in keys if its is kind)), of, values
                    )
                    for kind, of in zip(kinds, of_kinds, strict=True)
                )
            )
            by_key = dict(zip(kinds, found, strict=True))
            return "[" + ",".join(_text_or_null(by_key[kind], key) for kind, key in keys) + "]"

        return run

    def _connection(
        self,
        output: GraphQLObjectType,
        nodes: Sequence[FieldNode],
        source: Callable[..., TextSource],
        arguments: Callable[..., Any],
        table: str,
    ) -> Run:
        plan = self._connection_plan(output, nodes, table)

        async def run(context: Context, request: Request, values: Values) -> str:
            given = arguments(request)
            page = PageArguments(*(given.pop(name, None) for name in ("first", "after", "last", "before")))
            return await plan.run(source(context, **given), page, context.database.dialect, values)

        return run

    def _connection_plan(self, output: GraphQLObjectType, nodes: Sequence[FieldNode], table: str) -> "_ConnectionPlan":
        objects: list[Object] = []
        members: list[_Member] = []
        for key, selected in self._environment.fields_below(output, nodes).items():
            name = selected[0].name.value
            if name == "__typename":
                members.append(_Member(key, name, Literal(f'"{output.name}"')))
                continue
            field = output.fields[name]
            below = named(field.type)
            match name:
                case "nodes":
                    members.append(_Member(key, name, len(objects)))
                    objects.append(self._planner.object(below, selected))
                case "edges":
                    members.append(_Member(key, name, len(objects)))
                    objects.append(self._planner.edge(below, selected))
                case "pageInfo":
                    members.append(_Member(key, name, self._planner.page_info(below, selected)))
                case _:
                    members.append(_Member(key, name, self._planner.count_limit(field, selected)))
        return _ConnectionPlan(members, _Texts(table, objects), len(objects))


@dataclass(frozen=True, slots=True)
class _Member:
    """A field of a connection: its key, its name, and the parts that its value needs."""

    key: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class _ConnectionPlan:
    members: Sequence[_Member]
    texts: _Texts
    count: int
    """The number of texts of each row."""

    async def run(self, source: TextSource, arguments: PageArguments, dialect: str, values: Values) -> str:
        """Returns the JSON text of the connection."""
        names = {member.name for member in self.members}
        page = None
        bounds = arguments.page(source.ordering)  # refuses what is wrong, whatever is selected
        if not names.isdisjoint(("nodes", "edges", "pageInfo")):
            placed = "edges" in names or "pageInfo" in names
            is_read = bounds.limit > 1 or "pageInfo" in names
            rows = await source.texts(self.texts.of(dialect), bounds, values, placed=placed) if is_read else ()
            page = ConnectionPage(_Rows(source), bounds, rows)
        parts = [f'"{member.key}":{await self._member(member, source, page)}' for member in self.members]
        return "{" + ",".join(parts) + "}"

    async def _member(self, member: _Member, source: TextSource, page: ConnectionPage | None) -> str:
        if isinstance(member.value, Literal):
            return member.value.text
        if member.name == "totalCount":
            return str(await source.count(member.value))
        assert page is not None  # The page was read, because this field needs it.
        index = member.value
        match member.name:
            case "nodes":
                return _array([row[index] for row in page.rows])
            case "edges":
                own = f'"{CURSOR}"'
                items = [(row[index] or BROKEN).replace(own, f'"{page.cursor(row)}"') for row in page.rows]
                return _array(items)
            case _:
                parts = [f'"{key}":{await _page_info(field, page)}' for key, field in member.value]
                return "{" + ",".join(parts) + "}"


async def _page_info(field: str | Literal, page: ConnectionPage) -> str:
    match field:
        case Literal(text):
            return text
        case "hasNextPage":
            return encode(await page.has_next())
        case "hasPreviousPage":
            return encode(await page.has_previous())
        case _:
            if not page.rows:
                return "null"
            return f'"{page.cursor(page.rows[0 if field == "startCursor" else -1])}"'


def _array(items: Sequence[str | None]) -> str:
    try:
        return "[" + ",".join(items) + "]"  # type: ignore[arg-type]
    except TypeError:  # One of the values is null.
        raise UnexpectedError from None


def _covered(by_kind: Mapping[IdKind, "_Texts | UncoveredError"], kind: IdKind) -> _Texts:
    found = by_kind.get(kind) or UncoveredError(f"node of {kind.name}")
    if isinstance(found, UncoveredError):
        raise found
    return found


def _text_or_null(found: Mapping[UUID, str | None], key: UUID) -> str:
    if key not in found:
        return "null"
    text = found[key]
    if text is None:
        raise UnexpectedError
    return text


def _constant(text: str) -> Run:
    async def run(_: Context, __: Request, ___: Values) -> str:
        return text

    return run


def with_nested_cursors(text: str) -> str:
    """Returns `text` with the cursors of nested connections, for which the database has written keys."""

    def cursor(found: re.Match[str]) -> str:
        return encode_position(OLDEST_FIRST_ORDERING, Position(0, UUID(found.group(1))))

    return _NESTED_CURSOR.sub(cursor, text)


def converter(schema: Any) -> Callable[..., dict[str, Any]]:
    """Returns the function that turns coerced values into the arguments of a resolver, as Strawberry does."""
    registry, config = schema.schema_converter.scalar_registry, schema.config

    def convert(values: dict[str, Any], arguments: Any) -> dict[str, Any]:
        return convert_arguments(values, arguments, scalar_registry=registry, config=config)

    return convert
