"""The fields that are selected on one object, directly or by fragments."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    is_abstract_type,
)


def fields_of(
    fragments: Mapping[str, FragmentDefinitionNode],
    sets: Iterable[SelectionSetNode],
    *,
    is_included: Callable[[SelectionNode], bool] = lambda _: True,
    applies: Callable[[str], bool] = lambda _: True,
) -> Iterator[FieldNode]:
    """Yields the fields that `sets` select on one object, including those of fragments.

    `is_included` decides about a selection by its directives, and `applies` about a fragment by the name of its type;
    by default both are true. A fragment that the document lacks has no fields: validation refuses the document.
    """
    # Each fragment counts once: the fields of fragments that spread each other twice would double at each level.
    spread: set[str] = set()

    def walk(selections: Iterable[SelectionSetNode]) -> Iterator[FieldNode]:
        for node in (node for selection_set in selections for node in selection_set.selections):
            if not is_included(node):
                continue
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                if node.type_condition is None or applies(node.type_condition.name.value):
                    yield from walk([node.selection_set])
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                spread.add(node.name.value)
                fragment = fragments.get(node.name.value)
                if fragment is not None and applies(fragment.type_condition.name.value):
                    yield from walk([fragment.selection_set])

    return walk(sets)


def response_key(node: FieldNode) -> str:
    """Returns the key of a field in the response: its alias, or else its name."""
    return (node.alias or node.name).value


def by_response_key(fields: Iterable[FieldNode]) -> dict[str, list[FieldNode]]:
    """Returns the fields by their keys in the response. Fields with one key are merged."""
    groups: dict[str, list[FieldNode]] = {}
    for node in fields:
        groups.setdefault(response_key(node), []).append(node)
    return groups


def is_of_type(schema: GraphQLSchema, output: GraphQLObjectType, name: str) -> bool:
    """Returns True if objects of the type `output` are also of the type with this name."""
    named = schema.type_map[name]
    return named is output or (is_abstract_type(named) and schema.is_sub_type(named, output))


def sets_below(nodes: Iterable[FieldNode]) -> list[SelectionSetNode]:
    """Returns the selections below fields that are merged."""
    return [node.selection_set for node in nodes if node.selection_set]
