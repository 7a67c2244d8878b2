"""What a plan depends on beside its document: the values of variables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionSetNode,
    is_abstract_type,
)
from graphql.execution.values import VariableValues, get_argument_values, get_directive_values

Decide = Callable[[VariableValues], Any]
"""Something that a plan asked of the variables: a plan serves all variables that give the same answers."""


class UncoveredError(Exception):
    """A part of the operation that only the general path executes; the reason names it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Environment:
    """An operation with its variables, while it is planned. It notes what the plan asks of the variables."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues
    ) -> None:
        self.schema = schema
        self._fragments = fragments
        self.variables = variables
        self.decisions: list[tuple[Decide, Any]] = []

    def decide(self, decide: Decide) -> Any:
        """Returns what `decide` answers for these variables, and notes it."""
        answer = decide(self.variables)
        self.decisions.append((decide, answer))
        return answer

    def arguments(self, field: GraphQLField, node: FieldNode) -> dict[str, Any]:
        """Returns the arguments of a field; they are part of the plan."""
        if not field.args:
            return {}

        def values(variables: VariableValues) -> dict[str, Any]:
            return get_argument_values(field, node, variables)

        return values(self.variables) if _is_constant(node) else self.decide(values)

    def argument(self, field: GraphQLField, node: FieldNode, name: str, variables: VariableValues) -> Any:
        """Returns the value of one argument of a field for other variables."""
        return get_argument_values(field, node, variables)[name]

    def fields(self, output: GraphQLObjectType, sets: Sequence[SelectionSetNode]) -> Mapping[str, Sequence[FieldNode]]:
        """Returns the fields selected on an object of the type `output`, by their keys in the response."""
        found: dict[str, list[FieldNode]] = {}
        spread: set[str] = set()
        for selections in sets:
            for node in self._selected(output, selections, spread):
                found.setdefault((node.alias or node.name).value, []).append(node)
        return found

    def _selected(
        self, output: GraphQLObjectType, selections: SelectionSetNode, spread: set[str]
    ) -> Iterator[FieldNode]:
        for node in selections.selections:
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                if node.type_condition is None or self._is_of(output, node.type_condition.name.value):
                    yield from self._selected(output, node.selection_set, spread)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                spread.add(node.name.value)
                fragment = self._fragments[node.name.value]
                if self._is_of(output, fragment.type_condition.name.value):
                    yield from self._selected(output, fragment.selection_set, spread)

    def _is_included(self, node: Any) -> bool:
        for directive in node.directives or ():
            name = directive.name.value
            if name not in ("skip", "include"):
                raise UncoveredError(f"@{name}")
        if not node.directives:
            return True
        return bool(self.decide(lambda variables: _included(node, variables)))

    def _is_of(self, output: GraphQLObjectType, name: str) -> bool:
        named = self.schema.type_map[name]
        return named is output or (is_abstract_type(named) and self.schema.is_sub_type(named, output))


def _included(node: Any, variables: VariableValues) -> bool:
    skip = get_directive_values(GraphQLSkipDirective, node, variables)
    if skip is not None and skip["if"] is True:
        return False
    include = get_directive_values(GraphQLIncludeDirective, node, variables)
    return include is None or include["if"] is not False


def _is_constant(node: FieldNode) -> bool:
    return all(not _has_variable(argument.value) for argument in node.arguments or ())


def _has_variable(value: Any) -> bool:
    if value.kind == "variable":
        return True
    if value.kind == "list_value":
        return any(_has_variable(each) for each in value.values)
    return value.kind == "object_value" and any(_has_variable(each.value) for each in value.fields)
