"""The entrance of compiled reads: answers queries of declared fields with JSON text that the database writes.

A document is planned once. Its root fields check rights, arguments, filters and pages by the same functions as their
resolvers; the rows come as JSON text, and are joined to the response. The general path executes every operation that a
plan does not cover or that has an error. It executes the operation as a whole, so its response is authoritative.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    is_non_null_type,
    specified_rules,
)
from graphql.execution.values import VariableValues, get_variable_values

from db.row_json.statements import instant_value
from db.row_json.writer import BROKEN
from db.sql.clause_text import Recent
from domain.errors import FlowRunsError, QueryTimeoutError, RateLimitedError
from domain.time import clock
from resolvers.context import Context
from schema import visibility
from schema.build import FlowRunsSchema
from schema.charging import charge, report, with_report
from schema.compiled.environment import Decide, Environment, Request, UncoveredError
from schema.compiled.roots import Roots, Run, UnexpectedError, converter, with_nested_cursors
from schema.compiled.selections import Planner
from schema.cost import RepeatedNames, check, signature
from schema.documents import KEPT_DOCUMENTS, RecentDocuments
from schema.errors import to_client_error

_logger = logging.getLogger(__name__)

_MAX_PLANS = 16
"""Largest number of plans of one operation. There is one for each set of answers that its variables give, such as those
of `@include`."""
_MAX_REQUESTS = 2_000
"""Number of requests whose coerced variables and plans are kept."""
_MAX_KEPT_VARIABLES = 1_024
"""Largest size of variables that are kept, in bytes."""
_MAX_SIGNATURES = 100
"""Number of signatures of variables whose cost is kept, for one operation: page sizes, and sizes of filters."""
_RULES = (*specified_rules, RepeatedNames)


@dataclass(slots=True)
class ReadCounts:
    """Counts of the operations, by whether a plan answered them."""

    compiled: int = 0
    """Operations that a plan answered."""
    general: Counter[str] = field(default_factory=Counter)
    """Operations that the general path answered, by the reason: the part that is not covered, or the error."""


class _NotCoveredError(Exception):
    """The general path must execute the operation."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _TimeoutError(Exception):
    """The read of a root field took longer than its time limit."""

    def __init__(self, field: "_Field", error: QueryTimeoutError) -> None:
        super().__init__()
        self.field = field
        located = GraphQLError(error.message, field.nodes, path=[field.key], original_error=error)
        self.formatted = to_client_error(located).formatted


@dataclass(frozen=True, slots=True)
class _Field:
    """A root field of an operation."""

    key: str
    nodes: Sequence[FieldNode]
    is_nullable: bool
    run: Run

    async def text(self, *args: Any) -> str:
        """Returns the JSON text of the field.

        Raises:
            _TimeoutError
        """
        try:
            return await self.run(*args)
        except QueryTimeoutError as error:
            raise _TimeoutError(self, error) from error


@dataclass(frozen=True, slots=True)
class _Plan:
    fields: Sequence[_Field]
    decisions: Sequence[tuple[Decide, Any]]
    parameters: Mapping[str, Decide]
    has_nested_cursors: bool

    def serves(self, variables: VariableValues) -> bool:
        """True if the variables give the answers for which the plan was made."""
        return all(decide(variables) == answer for decide, answer in self.decisions)

    async def run(self, context: Context, request: Request) -> bytes:
        """Returns the body of the response."""
        values: dict[str, object] = {"now": instant_value(context.database.dialect, clock.now())}
        for name, value in self.parameters.items():
            values[name] = value(request.variables)
        if len(self.fields) == 1:
            (field,) = self.fields
            try:
                text = f'{{"data":{{"{field.key}":{await field.text(context, request, values)}}}}}'
            except _TimeoutError as error:
                text = self._body([error], context)
        else:
            reads = (field.text(context, request, values) for field in self.fields)
            text = self._body(await asyncio.gather(*reads, return_exceptions=True), context)
        if BROKEN in text:
            raise UnexpectedError
        return (with_nested_cursors(text) if self.has_nested_cursors else text).encode()

    def _body(self, found: Sequence[str | BaseException], context: Context) -> str:
        """Returns the body with the texts of the fields. One that took too long is not read again: it is an error."""
        errors = [result for result in found if isinstance(result, _TimeoutError)]
        others = [result for result in found if isinstance(result, BaseException) and result not in errors]
        if others:
            raise others[0]
        data = "null"
        if all(error.field.is_nullable for error in errors):
            parts = (result if isinstance(result, str) else "null" for result in found)
            members = (f'"{field.key}":{part}' for field, part in zip(self.fields, parts, strict=True))
            data = "{" + ",".join(members) + "}"
        if not errors:
            return f'{{"data":{data}}}'
        context.has_errors = True
        return f'{{"data":{data},"errors":{orjson.dumps([error.formatted for error in errors]).decode()}}}'


class _Operation:
    """An operation of a valid document, with its plans."""

    def __init__(
        self, schema: FlowRunsSchema, document: DocumentNode, name: str | None, prepared: "_PreparedRequests"
    ) -> None:
        self._schema = schema
        self._prepared = prepared
        self._document = document
        self._name = name
        self._node = _operation(document, name)
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._plans: list[_Plan] = []
        self._costs: dict[Hashable, int] = {}
        """Costs within the limits, by the signature of the variables."""
        self._refused: str | None = None
        self._convert = converter(schema)

    async def execute(self, given: dict[str, Any], context: Context) -> bytes:
        """Returns the body of the response."""
        if self._refused is not None:
            raise _NotCoveredError(self._refused)
        key = _variables_key(given)
        known = None if key is None else self._prepared.find((self, key))
        cost = context.cost = self._cost(given) if known is None else known.cost
        graphql_schema: GraphQLSchema = self._schema._schema  # noqa: SLF001 - Strawberry has no public name for it
        visibility.check(graphql_schema, self._document, context.viewer, given)
        if known is None:
            known = self._prepare(graphql_schema, given, cost)
            if key is not None:
                self._prepared.put((self, key), known)
        charged = await charge(context, cost)
        body = await known.plan.run(context, known.request)
        return with_report(body, report(context, charged)) if context.reports_cost else body

    def _prepare(self, graphql_schema: GraphQLSchema, given: dict[str, Any], cost: int) -> "_Prepared":
        # The general path reports the errors. To look for all of them would take long: each one suggests names.
        definitions = self._node.variable_definitions or ()
        variables = get_variable_values(graphql_schema, definitions, given, max_errors=1, hide_suggestions=True)
        if isinstance(variables, list):
            raise _NotCoveredError("variables")
        return _Prepared(self._plan(graphql_schema, variables), Request(variables), cost)

    def _cost(self, given: dict[str, Any]) -> int:
        size = signature(given)
        cost = self._costs.get(size)
        if cost is None:
            cost = check(self._document, self._name, given)
            if len(self._costs) < _MAX_SIGNATURES:
                self._costs[size] = cost
        return cost

    def _plan(self, schema: GraphQLSchema, variables: VariableValues) -> _Plan:
        for known in self._plans:
            if known.serves(variables):
                return known
        if len(self._plans) >= _MAX_PLANS:
            raise _NotCoveredError("many plans")
        environment = Environment(schema, self._fragments, variables)
        try:
            plan = self._planned(environment)
        except UncoveredError as error:
            if not environment.decisions:
                self._refused = error.reason
            raise _NotCoveredError(error.reason) from None
        self._plans.append(plan)
        return plan

    def _planned(self, environment: Environment) -> _Plan:
        root = environment.schema.query_type
        assert isinstance(root, GraphQLObjectType)
        planner = Planner(environment)
        roots = Roots(environment, planner, self._convert)
        if self._node.directives:
            raise UncoveredError("directive")
        fields = [
            _Field(key, nodes, _is_nullable(root, nodes), roots.plan(root, nodes))
            for key, nodes in environment.fields(root, [self._node.selection_set]).items()
        ]
        return _Plan(fields, environment.decisions, planner.values, planner.has_nested_cursors)


class _Prepared(NamedTuple):
    """The part of a request that is kept."""

    plan: _Plan
    request: Request
    cost: int


_PreparedRequests = Recent[tuple[_Operation, bytes], _Prepared]
"""Requests whose variables were seen before: pages that are requested repeatedly."""


def _variables_key(given: Mapping[str, Any]) -> bytes | None:
    """Returns a key that is equal for equal variables; None if they are not to be kept."""
    try:
        key = orjson.dumps(given)
    except TypeError:  # It has a number that orjson does not write.
        return None
    return key if len(key) <= _MAX_KEPT_VARIABLES else None


class CompiledReads:
    """Answers the operations that plans cover. All requests share one instance, which keeps the plans."""

    def __init__(self, schema: FlowRunsSchema, documents: int = KEPT_DOCUMENTS) -> None:
        """`documents` is the largest number of documents whose plans are kept."""
        self.counts = ReadCounts()
        self._schema = schema
        self._requests: _PreparedRequests = Recent(_MAX_REQUESTS)
        self._operations: RecentDocuments[tuple[str, str | None], _Operation | str] = RecentDocuments(documents)

    async def execute(
        self, query: str | None, variables: Mapping[str, Any] | None, operation_name: str | None, context: Context
    ) -> bytes | None:
        """Returns the body of the response to a query; None if the general path must execute it.

        Raises:
            RateLimitedError: the budget of the key is below the cost of the query.
        """
        try:
            body = await self._operation(query, operation_name).execute(dict(variables or {}), context)
        except _NotCoveredError as error:
            reason = error.reason
        except UncoveredError as error:
            reason = error.reason
        except RateLimitedError:
            raise
        except (FlowRunsError, GraphQLError):
            reason = "error"
        except UnexpectedError:
            reason = "unexpected value"
        except Exception:
            # The general path answers. The failure here is a defect, so it is logged.
            _logger.warning("a compiled read failed; the general path answers", exc_info=True)
            reason = "failure"
        else:
            self.counts.compiled += 1
            return body
        self.counts.general[reason] += 1
        return None

    def _operation(self, query: str | None, name: str | None) -> _Operation:
        if not query:
            raise _NotCoveredError("document")
        known = self._operations.find((query, name))
        if known is None:
            characters = len(query) + len(name or "")
            known = self._operations.put((query, name), self._prepared(query, name), characters)
        if isinstance(known, str):
            raise _NotCoveredError(known)
        return known

    def _prepared(self, query: str, name: str | None) -> _Operation | str:
        """Returns the operation, or the reason why the general path must execute it."""
        try:
            document = self._schema.documents.parse(query)
            if self._schema.documents.validate(query, _RULES):
                return "document"
            return _Operation(self._schema, document, name, self._requests)
        except _NotCoveredError as error:
            return error.reason
        except (FlowRunsError, GraphQLError, ValueError, RecursionError):
            return "document"


def _is_nullable(root: GraphQLObjectType, nodes: Sequence[FieldNode]) -> bool:
    field = root.fields.get(nodes[0].name.value)
    return field is not None and not is_non_null_type(field.type)


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        operations = [node for node in operations if node.name and node.name.value == name]
    if len(operations) != 1:
        raise _NotCoveredError("document")
    (operation,) = operations
    if operation.operation is not OperationType.QUERY:
        raise _NotCoveredError(operation.operation.value)
    return operation
