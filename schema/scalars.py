"""Custom scalars: how they are parsed from requests and serialized to responses."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NewType

import orjson
import strawberry
from graphql import GraphQLError, ListValueNode, ObjectValueNode, Undefined, ValueNode, value_from_ast_untyped
from strawberry.scalars import JSON
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY

from domain.time import instants

_MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that JavaScript numbers represent exactly."""

BigInt = NewType("BigInt", int)


def raw_json(text: str) -> Any:
    """Returns JSON text as a value that is written into the response unchanged."""
    return orjson.Fragment(text)


def _parse_big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_SAFE_INTEGER:
        raise GraphQLError(f"BigInt must be an integer between -(2^53 - 1) and 2^53 - 1, got {value!r:.80}.")
    return value


def _parse_instant(value: Any) -> datetime:
    try:
        return instants.parse(value).astimezone(UTC)
    except (AttributeError, ValueError, OverflowError):
        raise GraphQLError(
            f"DateTime must be a time in ISO 8601, such as `2026-01-31T12:00:00Z`, got {value!r:.80}."
        ) from None


def _write_instant(instant: datetime) -> str:
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    # `isoformat` takes twice as long.
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (  # noqa: UP031
        instant.year,
        instant.month,
        instant.day,
        instant.hour,
        instant.minute,
        instant.second,
        instant.microsecond,
    )


def _parse_json_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> Any:
    """Returns the value of a JSON literal. A variable without a value omits its field; in a list it is null."""
    match node:
        case ObjectValueNode():
            fields = ((field.name.value, _parse_json_literal(field.value, variables)) for field in node.fields)
            return {name: value for name, value in fields if value is not Undefined}
        case ListValueNode():
            values = (_parse_json_literal(value, variables) for value in node.values)
            return [None if value is Undefined else value for value in values]
        case _:
            return value_from_ast_untyped(node, dict(variables or {}))


SCALARS: dict[object, Any] = {
    JSON: replace(DEFAULT_SCALAR_REGISTRY[JSON], parse_literal=_parse_json_literal),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer between -(2^53 - 1) and 2^53 - 1, as a JSON number.",
        serialize=int,
        parse_value=_parse_big_int,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant in ISO 8601 or RFC 3339, with microseconds. An instant without an offset is in UTC, "
        "as in all responses.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=_write_instant,
        parse_value=_parse_instant,
    ),
}
