"""Generator of valid query documents over the whole schema, with variables, for the test of two ways to execute them.

Every choice is drawn from a `random.Random`, so that hypothesis can shrink a document that fails.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    is_abstract_type,
    is_leaf_type,
)

MAX_DEPTH = 5
"""Levels of selections below a root field. Deeper documents are refused by the limit on cost."""
MAX_FIELDS = 6
"""Fields that one selection has, without those of its fragments."""
_LIKELIHOOD = {"last": 0.1, "after": 0.15, "before": 0.1}
"""Of arguments that often end in an error: two sizes, or the cursor of another order."""
ABSENT = object()
"""A variable that the request leaves out."""
Selects = Callable[[GraphQLObjectType, str], bool]
"""Returns True if documents may select the field of this name of a type."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of one query, and the variables of one request."""

    text: str
    variables: dict[str, Any]


@dataclass
class _Operation:
    """What the selections of one operation may use, and have used so far."""

    selects: Selects
    variables: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Type and value by the variable's name."""
    fragments: list[str] = field(default_factory=list)
    fields: int = 0


class DocumentGenerator:
    """Makes documents from the types of a schema and from values that are known to the database."""

    def __init__(self, schema: GraphQLSchema, values: Mapping[str, Sequence[Any]]) -> None:
        """Takes the values of arguments and input fields, by `Owner.name`, by `name` or by the scalar."""
        self._schema = schema
        self._values = values

    def document(self, random: Random, selects: Selects) -> Document:
        """Returns a document of one to three root fields; `selects` limits the fields of the document."""
        query = self._schema.query_type
        assert query is not None
        operation = _Operation(selects)
        names = [name for name in query.fields if selects(query, name)]
        fields = [
            self._field(random, operation, query, random.choice(names), MAX_DEPTH)
            for _ in range(random.choice((1, 1, 1, 2, 3)))
        ]
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in operation.variables.items())
        head = f"query Generated{f'({declared})' if declared else ''} {{ {' '.join(fields)} }}"
        given = {name: value for name, (_, value) in operation.variables.items() if value is not ABSENT}
        return Document("\n".join([head, *operation.fragments]), given)

    def _selection(self, random: Random, operation: _Operation, on: Any, depth: int, *, apart: bool = False) -> str:
        """Returns a selection; with `apart` every field has an alias, since fields of several types are merged."""
        if is_abstract_type(on):
            parts = ["__typename", *getattr(on, "fields", {})]
            types = list(self._schema.get_possible_types(on))
            chosen = random.sample(types, random.randint(1, len(types)))
            parts += [
                f"... on {each.name} {self._selection(random, operation, each, depth, apart=True)}" for each in chosen
            ]
            return f"{{ {' '.join(parts)} }}"
        names = [
            name
            for name, declared in on.fields.items()
            if operation.selects(on, name) and (depth > 0 or _is_leaf(declared))
        ]
        selected: list[str] = random.sample(names, random.randint(1, min(MAX_FIELDS, len(names)))) if names else []
        parts = [self._field(random, operation, on, name, depth, apart=apart) for name in selected] or ["__typename"]
        if random.random() < 0.15:
            parts.append(f"typeName: __typename{self._directive(random, operation)}")
        parts += self._fragments(random, operation, on, apart=apart)
        return f"{{ {' '.join(parts)} }}"

    def _fragments(self, random: Random, operation: _Operation, on: GraphQLObjectType, *, apart: bool) -> list[str]:
        """Returns no fragment, one in place, or the spread of a named one."""
        if random.random() > 0.15:
            return []
        names = [name for name, each in on.fields.items() if operation.selects(on, name) and _is_leaf(each)]
        if not names:
            return []
        fields = self._field(random, operation, on, random.choice(names), 0, apart=apart)
        on_type = f"on {on.name}"
        if random.random() < 0.5:
            place = f" {on_type}" if random.random() < 0.7 else ""
            return [f"...{place}{self._directive(random, operation)} {{ {fields} }}"]
        name = f"Part{len(operation.fragments)}"
        operation.fragments.append(f"fragment {name} {on_type} {{ {fields} }}")
        return [f"...{name}{self._directive(random, operation)}"]

    def _field(
        self,
        random: Random,
        operation: _Operation,
        on: GraphQLObjectType,
        name: str,
        depth: int,
        *,
        apart: bool = False,
    ) -> str:
        declared: GraphQLField = on.fields[name]
        operation.fields += 1
        # Fields with arguments always have an alias of their own: two of them under one key must be equal.
        alias = (
            f"a{operation.fields}: " if declared.args or random.random() < 0.2 or on is self._schema.query_type else ""
        )
        below = _named(declared.type)
        selection = "" if is_leaf_type(below) else f" {self._selection(random, operation, below, depth - 1)}"
        arguments = self._arguments(random, operation, name, declared)
        return f"{alias}{name}{arguments}{self._directive(random, operation)}{selection}"

    def _directive(self, random: Random, operation: _Operation) -> str:
        if random.random() > 0.08:
            return ""
        condition = str(random.random() < 0.5).lower()
        if random.random() < 0.6:
            condition = self._variable(random, operation, "Boolean!", condition == "true")
        return f" @{random.choice(('include', 'skip'))}(if: {condition})"

    def _arguments(self, random: Random, operation: _Operation, of: str, declared: GraphQLField) -> str:
        parts = []
        for name, argument in declared.args.items():
            required = isinstance(argument.type, GraphQLNonNull)
            if not required and random.random() > _LIKELIHOOD.get(name, 0.35):
                continue
            parts.append(f"{name}: {self._argument(random, operation, f'{of}.{name}', argument)}")
        return f"({', '.join(parts)})" if parts else ""

    def _argument(self, random: Random, operation: _Operation, path: str, argument: GraphQLArgument) -> str:
        required = isinstance(argument.type, GraphQLNonNull)
        value = None if not required and random.random() < 0.05 else self._value(random, path, argument.type)
        if random.random() < 0.5:
            if not required and random.random() < 0.1:
                value = ABSENT
            return self._variable(random, operation, str(argument.type), value)
        return _literal(argument.type, value)

    def _variable(self, random: Random, operation: _Operation, kind: str, value: Any) -> str:
        name = f"v{len(operation.variables)}"
        operation.variables[name] = (kind, value)
        return f"${name}"

    def _value(self, random: Random, path: str, kind: Any) -> Any:
        """Returns a value of an input type as JSON."""
        if isinstance(kind, GraphQLNonNull):
            return self._value(random, path, kind.of_type)
        if isinstance(kind, GraphQLList):
            return [self._value(random, path, kind.of_type) for _ in range(random.choice((0, 1, 1, 2, 3)))]
        if isinstance(kind, GraphQLInputObjectType):
            return self._object(random, kind)
        known = self._values.get(path) or self._values.get(path.rpartition(".")[2])
        if known:
            return random.choice(known)
        if isinstance(kind, GraphQLEnumType):
            return random.choice(list(kind.values))
        return random.choice(self._values[kind.name])

    def _object(self, random: Random, kind: GraphQLInputObjectType) -> dict[str, Any]:
        optional = [name for name, each in kind.fields.items() if not isinstance(each.type, GraphQLNonNull)]
        chosen = {*random.sample(optional, min(len(optional), random.choice((0, 1, 1, 1, 2, 3))))}
        return {
            name: self._input_field(random, kind, name, each)
            for name, each in kind.fields.items()
            if name in chosen or name not in optional
        }

    def _input_field(self, random: Random, kind: GraphQLInputObjectType, name: str, each: GraphQLInputField) -> Any:
        if not isinstance(each.type, GraphQLNonNull) and random.random() < 0.05:
            return None
        return self._value(random, f"{kind.name}.{name}", each.type)


def _is_leaf(declared: GraphQLField) -> bool:
    required = any(isinstance(each.type, GraphQLNonNull) for each in declared.args.values())
    return not required and is_leaf_type(_named(declared.type))


def _named(kind: Any) -> Any:
    while isinstance(kind, GraphQLNonNull | GraphQLList):
        kind = kind.of_type
    return kind


def _literal(kind: Any, value: Any) -> str:
    """Returns a value in GraphQL's own notation."""
    if isinstance(kind, GraphQLNonNull):
        return _literal(kind.of_type, value)
    if value is None:
        return "null"
    if isinstance(kind, GraphQLList):
        return f"[{', '.join(_literal(kind.of_type, each) for each in value)}]"
    if isinstance(kind, GraphQLInputObjectType):
        return f"{{{', '.join(f'{name}: {_literal(kind.fields[name].type, each)}' for name, each in value.items())}}}"
    if isinstance(kind, GraphQLEnumType):
        return str(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_literal(kind, each)}' for name, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(kind, each) for each in value)}]"
    return json.dumps(value)
