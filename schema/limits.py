"""What one document may ask for: its size, its depth, and its cost in fields times page sizes."""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)
from strawberry.extensions import SchemaExtension

from domain.errors import QueryTooComplexError
from resolvers.pagination import DEFAULT_PAGE, MAX_PAGE

MAX_TOKENS = 4_000
"""Words and brackets in a document."""
MAX_DEPTH = 15
"""Levels of nested fields; GraphiQL's introspection is exempt."""
MAX_COST = 500_000
"""A page of 1,000 runs with 30 fields and 100 steps each costs 300,000."""
MAX_FIELDS = 2_000
"""Fields in one operation, fragments counted wherever they are spread."""
STEPS_ASSUMED = 10
"""Items in a list without pages, such as the steps of a run."""

_PAGED = {"flows", "flowRuns", "childRuns", "retries", "bulkOperations"}
_LISTS = {"steps", "statusHistory", "attempts", "retryability", "schedules", "webhooks"}


class QueryLimits(SchemaExtension):
    """Refuses a document that asks for too much, before it is executed."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = MAX_TOKENS
        yield

    def on_execute(self) -> Iterator[None]:
        document = self.execution_context.graphql_document
        if document is not None:
            check(document, self.execution_context.operation_name, self.execution_context.variables or {})
        yield


def check(document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any]) -> None:
    """Make sure that the operation stays within the limits.

    Raises:
        QueryTooComplexError: it does not.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode) and operation_name in (None, node.name and node.name.value):
            _Meter(fragments, variables).cost(node.selection_set, depth=1)


class _Meter:
    """Adds up one operation, and stops as soon as it is too much."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]) -> None:
        self._fragments = fragments
        self._variables = variables
        self._fields = 0

    def cost(self, selections: SelectionSetNode, depth: int) -> int:
        """Of `selections`, at `depth`."""
        if depth > MAX_DEPTH:
            raise QueryTooComplexError(f"The query nests deeper than {MAX_DEPTH} levels.")
        total = sum(self._field_cost(field, depth) for field in self._fields_of(selections))
        if total > MAX_COST:
            raise QueryTooComplexError(f"The query may cost at most {MAX_COST:,} fields; ask for smaller pages.")
        return total

    def _field_cost(self, field: FieldNode, depth: int) -> int:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise QueryTooComplexError(f"The query selects more than {MAX_FIELDS:,} fields.")
        if field.selection_set is None or field.name.value.startswith("__"):
            return 1
        return 1 + self._factor(field) * self.cost(field.selection_set, depth + 1)

    def _factor(self, field: FieldNode) -> int:
        if field.name.value in _LISTS:
            return STEPS_ASSUMED
        if field.name.value not in _PAGED:
            return 1
        sizes = [
            self._size(argument.value) for argument in field.arguments or () if argument.name.value in {"first", "last"}
        ]
        return max((size for size in sizes if size is not None), default=DEFAULT_PAGE)

    def _size(self, value: Any) -> int | None:
        given = value
        if isinstance(value, VariableNode):
            given = self._variables.get(value.name.value)
        elif isinstance(value, IntValueNode):
            given = int(value.value)
        # What is out of range is refused later, with a message of its own.
        return min(max(given, 1), MAX_PAGE) if isinstance(given, int) else None

    def _fields_of(self, selections: SelectionSetNode) -> Iterator[FieldNode]:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, FragmentSpreadNode):
                yield from self._fields_of(self._fragments[node.name.value].selection_set)
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields_of(node.selection_set)
