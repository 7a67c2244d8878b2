"""The values on which a plan depends beside its document: the variables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    SelectionSetNode,
)
from graphql.execution.values import VariableValues, get_argument_values, get_directive_values

from schema.selected_fields import by_response_key, fields_of, is_of_type, sets_below

Decide = Callable[[VariableValues], Any]
"""A question that a plan asks of the variables. The plan serves all variables with the same answers."""


@dataclass(frozen=True, slots=True)
class Request:
    """The variables of a request, and what was made of them: requests with equal variables share it."""

    variables: VariableValues
    arguments: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """The arguments of root fields, by the identity of the node in the document, which lives as long as its plan."""


class UncoveredError(Exception):
    """Only the general path can execute a part of the operation. The reason names the part."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Environment:
    """An operation with its variables during planning. It records the questions that the plan asks of the variables."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues
    ) -> None:
        self.schema = schema
        self._fragments = fragments
        self.variables = variables
        self.decisions: list[tuple[Decide, Any]] = []

    def decide(self, decide: Decide) -> Any:
        """Returns the answer of `decide` for these variables, and records the question."""
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

    def fields(self, output: GraphQLObjectType, sets: Iterable[SelectionSetNode]) -> Mapping[str, Sequence[FieldNode]]:
        """Returns the fields selected on an object of the type `output`, by their keys in the response."""
        return by_response_key(
            fields_of(
                self._fragments,
                sets,
                is_included=self._is_included,
                applies=lambda name: is_of_type(self.schema, output, name),
            )
        )

    def fields_below(self, output: GraphQLObjectType, nodes: Iterable[FieldNode]) -> Mapping[str, Sequence[FieldNode]]:
        """Returns the same for the selections below the fields `nodes`."""
        return self.fields(output, sets_below(nodes))

    def _is_included(self, node: Any) -> bool:
        for directive in node.directives or ():
            name = directive.name.value
            if name not in ("skip", "include"):
                raise UncoveredError(f"@{name}")
        if not node.directives:
            return True
        return bool(self.decide(lambda variables: _included(node, variables)))


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
