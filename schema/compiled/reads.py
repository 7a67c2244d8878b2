"""The entrance of compiled reads: answers queries of declared fields with JSON text that the database writes.

A document is planned once. Its root fields check rights, arguments, filters and pages by the same functions as their
resolvers; the rows come as JSON text, and are joined to the response. The general path executes every operation that a
plan does not cover or that has an error. It executes the operation as a whole, so its response is authoritative.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    specified_rules,
)
from graphql.execution.values import VariableValues, get_variable_values
from strawberry import Schema
from strawberry.extensions import ParserCache, ValidationCache

from db.row_json.statements import instant_value
from db.row_json.writer import BROKEN
from db.sql.clause_text import Recent
from domain.errors import FlowRunsError, RateLimitedError
from domain.time import clock
from resolvers.context import Context
from schema import visibility
from schema.charging import charge, report, with_report
from schema.compiled.environment import Decide, Environment, UncoveredError
from schema.compiled.roots import Roots, Run, UnexpectedError, converter, with_nested_cursors
from schema.compiled.selections import Planner
from schema.cost import MAX_TOKENS, RepeatedNames, check

_logger = logging.getLogger(__name__)

_MAX_PLANS = 16
"""Largest number of plans of one operation. There is one for each set of answers that its variables give, such as those
of `@include`."""
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


@dataclass(frozen=True, slots=True)
class _Plan:
    fields: Sequence[tuple[str, Run]]
    decisions: Sequence[tuple[Decide, Any]]
    parameters: Mapping[str, Decide]
    has_nested_cursors: bool

    def serves(self, variables: VariableValues) -> bool:
        """True if the variables give the answers for which the plan was made."""
        return all(decide(variables) == answer for decide, answer in self.decisions)

    async def run(self, context: Context, variables: VariableValues) -> bytes:
        """Returns the body of the response."""
        values: dict[str, object] = {"now": instant_value(context.database.dialect, clock.now())}
        for name, value in self.parameters.items():
            values[name] = value(variables)
        if len(self.fields) == 1:
            ((key, run),) = self.fields
            text = f'{{"data":{{"{key}":{await run(context, variables, values)}}}}}'
        else:
            found = await asyncio.gather(*(run(context, variables, values) for _, run in self.fields))
            parts = (f'"{key}":{part}' for (key, _), part in zip(self.fields, found, strict=True))
            text = '{"data":{' + ",".join(parts) + "}}"
        if BROKEN in text:
            raise UnexpectedError
        return (with_nested_cursors(text) if self.has_nested_cursors else text).encode()


class _Operation:
    """An operation of a valid document, with its plans."""

    def __init__(self, schema: Schema, document: DocumentNode, name: str | None) -> None:
        self._schema = schema
        self._document = document
        self._name = name
        self._node = _operation(document, name)
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._plans: list[_Plan] = []
        self._refused: str | None = None
        self._convert = converter(schema)

    async def execute(self, given: dict[str, Any], context: Context) -> bytes:
        """Returns the body of the response."""
        if self._refused is not None:
            raise _NotCoveredError(self._refused)
        cost = context.cost = check(self._document, self._name, given)
        visibility.check(self._schema._schema, self._document, context.viewer)  # noqa: SLF001 - no public name
        graphql_schema: GraphQLSchema = self._schema._schema  # noqa: SLF001 - Strawberry has no public name for it
        variables = get_variable_values(graphql_schema, self._node.variable_definitions or (), given)
        if isinstance(variables, list):
            raise _NotCoveredError("variables")
        plan = self._plan(graphql_schema, variables)
        charged = await charge(context, cost)
        body = await plan.run(context, variables)
        return with_report(body, report(context, charged)) if context.reports_cost else body

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
            (key, roots.plan(root, nodes))
            for key, nodes in environment.fields(root, [self._node.selection_set]).items()
        ]
        return _Plan(fields, environment.decisions, planner.values, planner.has_nested_cursors)


class CompiledReads:
    """Answers the operations that plans cover. All requests share one instance, which keeps the plans."""

    def __init__(self, schema: Schema, documents: int) -> None:
        """`documents` is the largest number of documents whose plans are kept."""
        self.counts = ReadCounts()
        self._schema = schema
        self._operations: Recent[tuple[str, str | None], _Operation | str] = Recent(documents)
        self._parse = ParserCache(maxsize=documents).cached_parse_document
        self._validate = ValidationCache(maxsize=documents).cached_validate_document

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
            known = self._operations.put((query, name), self._prepared(query, name))
        if isinstance(known, str):
            raise _NotCoveredError(known)
        return known

    def _prepared(self, query: str, name: str | None) -> _Operation | str:
        """Returns the operation, or the reason why the general path must execute it."""
        try:
            document = self._parse(query, max_tokens=MAX_TOKENS)
            if self._validate(self._schema._schema, document, _RULES):  # noqa: SLF001 - no public name
                return "document"
            return _Operation(self._schema, document, name)
        except _NotCoveredError as error:
            return error.reason
        except (FlowRunsError, GraphQLError, ValueError, RecursionError):
            return "document"


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
