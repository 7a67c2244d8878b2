"""Fills in the `default`s of a JSON Schema.

A `default` counts where the schema describes a member: under `properties`, also of members, elements and parts that are
reached by `items`, `prefixItems`, `additionalProperties`, `allOf` and `$ref`. Under `anyOf`, `oneOf`, `if` and `not` a
`default` has no effect, because it is not known which branch applies. Ajv has the same rules.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from domain.errors import InputInvalidError
from domain.flows.json_schema import MAX_PROBLEMS, compile_schema, problems
from domain.problem import Problem

_ROOT = "urn:flow-runs:schema"
"""The address of a schema that has no `$id`."""
_PART = "urn:flow-runs:part"
"""The address of a subschema that has no `$id`."""
_MAX_REFERENCES = 10
"""Largest number of references between a member and its default."""
_MAX_DEPTH = 100
"""Largest number of schemas between the root and a value. A deeper schema contains itself."""

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value has a schema under each name."""
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
"""Keywords whose value is a list of schemas."""
_SINGLE = ("items", "additionalProperties", "contains", "propertyNames", "if", "then", "else", "not")
"""Keywords whose value is a schema."""

_BRANCHES = frozenset({"then", "else", "dependentSchemas"})
"""Keywords whose schemas apply only to some values."""
_KINDS_OF_SHAPE = (
    jsonschema_rs.ValidationErrorKind.Required,
    jsonschema_rs.ValidationErrorKind.Type,
    jsonschema_rs.ValidationErrorKind.AdditionalProperties,
    jsonschema_rs.ValidationErrorKind.FalseSchema,
)
"""Errors of an object that come from its type and the names of its members, not from their values."""
_MAX_MESSAGE = 500
"""Largest number of characters of a message."""


class EndlessDefaultsError(ValueError):
    """A default contains itself."""


@dataclass(slots=True)
class _Node:
    """The defaults of one schema, in the form in which they are filled in."""

    defaults: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, "_Node"] = field(default_factory=dict)
    others: "_Node | None" = None
    """The schema of members that `properties` does not name."""
    first_items: list["_Node"] = field(default_factory=list)
    items: "_Node | None" = None
    also: list["_Node"] = field(default_factory=list)
    """Schemas that apply to the same value."""


class Defaults:
    """The defaults of one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """`schema` is a JSON Schema that `compile_schema` accepts."""
        self._root: _Node | None = None
        if _has_default(schema):
            address = schema.get("$id", _ROOT)
            resolver = jsonschema_rs.Registry([(address, dict(schema))]).resolver(address)
            self._root = _Builder().build(schema, resolver)

    def fill(self, value: Any) -> Any:
        """Returns `value` with the defaults of members that it lacks. It shares parts with `value`.

        Raises:
            EndlessDefaultsError: a default contains itself.
        """
        return value if self._root is None else _filled(self._root, value, 0)


class CheckedSchema:
    """A JSON Schema that fills in its defaults before it validates a value."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """
        Raises:
            ValueError: `schema` is not a JSON Schema.
        """
        self._validator = compile_schema(schema)
        self._defaults = Defaults(schema)

    def fill(self, value: Any, root: str) -> Any:
        """Returns `value` with the defaults that it lacks, unchecked. `root` is its name in the paths of problems.

        Raises:
            InputInvalidError: a default contains itself.
        """
        try:
            return self._defaults.fill(value)
        except EndlessDefaultsError as error:
            raise InputInvalidError([Problem(root, str(error))]) from None

    def accept(self, value: Any, root: str) -> Any:
        """Returns `value` with the defaults that it lacks.

        Raises:
            InputInvalidError: the value does not match the schema.
        """
        filled = self.fill(value, root)
        if found := problems(self._validator, filled, root):
            raise InputInvalidError(found)
        return filled

    def mismatch_of_all(self, example: Mapping[str, Any], optional: Collection[str]) -> str | None:
        """Returns why no object with the members of `example` matches, whatever their values are; None if one may
        match.

        The object may also have members with names in `optional`.
        """
        for error in self._validator.iter_errors(self._defaults.fill(example)):
            is_absolute = not error.instance_path and not _BRANCHES.intersection(error.evaluation_path)
            is_of_shape = isinstance(error.kind, _KINDS_OF_SHAPE)
            if is_absolute and is_of_shape and getattr(error.kind, "property", None) not in optional:
                return error.message[:_MAX_MESSAGE]
        return None


def default_problems(schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Yields a problem for each `default` in `schema`, found at `path`, that does not fit its schema; at most 20."""
    found = 0
    for where, subschema in _subschemas(schema, ()):
        if "default" not in subschema or found == MAX_PROBLEMS:
            continue
        for problem in _misfits(schema, where, subschema["default"]):
            found += 1
            yield Problem(".".join((path, *where, "default")), f"The default does not fit: {problem}")


def _misfits(schema: Mapping[str, Any], where: tuple[str, ...], default: Any) -> list[str]:
    address = schema.get("$id", _PART)
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in where)
    # The schema becomes a part of another one, which refers to the subschema. References inside it keep their meaning.
    within = {"$defs": {"schema": {**schema, "$id": address}}, "$ref": f"{address}#{pointer}"}
    try:
        filled = Defaults(within).fill(default)
        return [problem.message for problem in problems(compile_schema(within), filled)[:1]]
    except EndlessDefaultsError:
        return ["it contains itself without end"]
    except (ValueError, jsonschema_rs.ReferencingError):
        # No reference reaches this place, for example because it has an `$id` of its own.
        return []


def _has_default(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "default" in schema or any(map(_has_default, schema.values()))
    return isinstance(schema, list) and any(map(_has_default, schema))


def _subschemas(schema: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yields the schemas in `schema`, each with its path."""
    if not isinstance(schema, dict):
        return
    yield where, schema
    for keyword in _MAPS:
        for name, part in schema.get(keyword, {}).items():
            yield from _subschemas(part, (*where, keyword, name))
    for keyword in _LISTS:
        for index, part in enumerate(schema.get(keyword, ())):
            yield from _subschemas(part, (*where, keyword, str(index)))
    for keyword in _SINGLE:
        yield from _subschemas(schema.get(keyword), (*where, keyword))


class _Builder:
    def __init__(self) -> None:
        self._by_reference: dict[tuple[str, str], _Node] = {}

    def build(self, schema: Any, resolver: jsonschema_rs.Resolver) -> _Node:
        """Returns the node of `schema`."""
        node = _Node()
        if not isinstance(schema, dict):
            return node
        for name, part in schema.get("properties", {}).items():
            node.properties[name] = self.build(part, resolver)
            if (holder := _with_default(part, resolver)) is not None:
                node.defaults[name] = holder["default"]
        if "additionalProperties" in schema:
            node.others = self.build(schema["additionalProperties"], resolver)
        if "items" in schema:
            node.items = self.build(schema["items"], resolver)
        node.first_items = [self.build(part, resolver) for part in schema.get("prefixItems", ())]
        node.also = [self.build(part, resolver) for part in schema.get("allOf", ())]
        if "$ref" in schema:
            node.also.append(self._referenced(schema["$ref"], resolver))
        return node

    def _referenced(self, reference: str, resolver: jsonschema_rs.Resolver) -> _Node:
        key = resolver.base_uri, reference
        if key not in self._by_reference:
            # The node is registered before it is built, because a schema may refer to itself.
            self._by_reference[key] = node = _Node()
            resolved = resolver.lookup(reference)
            built = self.build(resolved.contents, resolved.resolver)
            for name in _Node.__slots__:
                setattr(node, name, getattr(built, name))
        return self._by_reference[key]


def _with_default(schema: Any, resolver: jsonschema_rs.Resolver) -> Mapping[str, Any] | None:
    """Returns the schema that has the default of a member: the member's own, or the one that it refers to."""
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, dict) or "default" in schema:
            return schema if isinstance(schema, dict) else None
        if "$ref" not in schema:
            return None
        resolved = resolver.lookup(schema["$ref"])
        schema, resolver = resolved.contents, resolved.resolver
    return None


def _filled(node: _Node, value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise EndlessDefaultsError("A default of the schema contains itself.")
    if isinstance(value, dict):
        value = {**value, **{name: default for name, default in node.defaults.items() if name not in value}}
        for name, member in value.items():
            if (child := node.properties.get(name, node.others)) is not None:
                value[name] = _filled(child, member, depth + 1)
    elif isinstance(value, list) and (node.items or node.first_items):
        value = [
            element if child is None else _filled(child, element, depth + 1) for element, child in _paired(value, node)
        ]
    for other in node.also:
        value = _filled(other, value, depth + 1)
    return value


def _paired(elements: list[Any], node: _Node) -> Iterator[tuple[Any, _Node | None]]:
    for index, element in enumerate(elements):
        yield element, node.first_items[index] if index < len(node.first_items) else node.items
