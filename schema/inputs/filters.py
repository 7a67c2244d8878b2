"""The filters and orders that clients give."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, cast
from uuid import UUID

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from db import flows
from domain import ids, json_codec
from domain.errors import InvalidArgumentError
from domain.ids import IdKind
from domain.runs.run_filter import FILTER_FIELDS, FilterField, RunFilter, RunOrder, ValueType
from schema.arguments import optional
from schema.enums import Archived, OrderDirection, RunOrderField
from schema.scalars import BigInt

T = TypeVar("T")

MAX_LIST_VALUES = 1_000
"""Values in one list of a filter: SQLite takes 32,766 parameters in a statement."""

_SCALARS: dict[ValueType, Any] = {
    ValueType.TEXT: str,
    ValueType.INSTANT: datetime,
    ValueType.MILLISECONDS: BigInt,
    ValueType.FLAG: bool,
    ValueType.JSON_OBJECT: JSON,
}


def _with_declared_fields(cls: type[T]) -> type[T]:
    """Adds an optional input field to `cls` for each field that `RunFilter` declares, in front of its own."""
    declared = {name: _input_type(field) for name, field in FILTER_FIELDS.items()}
    for name, field in FILTER_FIELDS.items():
        setattr(cls, name, optional(field.description))
    cls.__annotations__ = declared | cls.__annotations__
    return cls


def _input_type(field: FilterField) -> Any:
    value_type = field.value_type
    if isinstance(value_type, IdKind):
        scalar: Any = strawberry.ID
    else:
        scalar = _SCALARS[value_type] if isinstance(value_type, ValueType) else value_type
    return list[scalar] | None if field.is_list else scalar | None


@strawberry.input(
    description="A filter of runs. Fields are ANDed, the values of a list are ORed, except `tags`. A field that is null"
    " or left out restricts nothing, except `archived`; an empty list matches no run."
)
@_with_declared_fields
class FlowRunFilter:
    """A filter of runs. Its fields are those that `RunFilter` declares, and `include_archived`."""

    include_archived: bool | None = optional(
        "If true, the same as `archived: INCLUDE`. Ignored when `archived` is given. By default false."
    )

    def to_domain(self) -> RunFilter:
        """Returns the filter with its IDs decoded.

        Raises:
            InvalidIdError: a value is not an ID of the expected type.
            InvalidArgumentError: a list is too long, or a value is outside its range.
            InputTooLargeError: `metadata` is too large.
        """
        values = {
            name: _to_domain(to_camel_case(name), field, value)
            for name, field in FILTER_FIELDS.items()
            if (value := getattr(self, name)) is not None
        }
        if self.include_archived:
            values.setdefault("archived", Archived.INCLUDE)
        return RunFilter(**values)

    @property
    def constrains_archived(self) -> bool:
        """True if the client says what to do with archived runs."""
        return any(getattr(self, name) is not None for name in ("archived", "include_archived"))

    def text(self) -> str:
        """Returns the fields that are given, as JSON text.

        Raises:
            InputTooLargeError: the text is larger than a run's input may be.
        """
        names = (field.name for field in fields(cast("Any", self)))
        given = {to_camel_case(name): value for name in names if (value := getattr(self, name)) is not None}
        return json_codec.encode(given, limit=json_codec.MAX_INPUT_BYTES, what="filter")


def _to_domain(name: str, field: FilterField, value: Any) -> Any:
    convert = _CONVERTERS.get(field.value_type) or (lambda _, value: value)
    if not field.is_list:
        return convert(name, value)
    return [convert(name, item) for item in _bounded(name, value)]


def _decoder(kind: IdKind) -> Callable[[str, str], UUID]:
    return lambda _, text: ids.decode(kind, text)


def _text(name: str, text: str) -> str:
    # PostgreSQL's text cannot hold it, so no stored text contains it.
    if "\0" in text:
        raise _nul_refused(name)
    return text


def _nul_refused(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"`{name}` must not contain the character U+0000.")


def _milliseconds(name: str, value: int) -> int:
    if value < 0:
        raise InvalidArgumentError(f"`{name}` must be at least 0, got {value}.")
    return value


def _json_object(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"`{name}` must be a JSON object.")
    text = json_codec.encode(value, limit=json_codec.MAX_METADATA_BYTES, what=name)
    if json_codec.has_nul(text):
        raise _nul_refused(name)
    return text


def _bounded(name: str, values: Sequence[Any]) -> Sequence[Any]:
    if len(values) > MAX_LIST_VALUES:
        raise InvalidArgumentError(f"`{name}` takes at most {MAX_LIST_VALUES:,} values, got {len(values):,}.")
    return values


_CONVERTERS: dict[ValueType | IdKind | type[StrEnum], Callable[[str, Any], Any]] = {
    ValueType.TEXT: _text,
    ValueType.MILLISECONDS: _milliseconds,
    ValueType.JSON_OBJECT: _json_object,
    **{kind: _decoder(kind) for kind in IdKind},
}
"""From the value of an argument, and its name for errors, to the value of the filter; other values are taken as is."""


@strawberry.input(description="An order of runs; by default the newest come first.")
class FlowRunOrder:
    """An order of runs."""

    field: RunOrderField = optional(
        "The value to order by. A run that has no such value yet comes last in descending order.",
        RunOrderField.CREATED_AT,
    )
    direction: OrderDirection = optional("The direction of the order.", OrderDirection.DESC)

    def to_domain(self) -> RunOrder:
        """Returns the order."""
        return RunOrder(self.field, self.direction is OrderDirection.DESC)


@strawberry.input(
    description="A filter of flows. Fields are ANDed. A field that is null or left out restricts nothing; an empty list"
    " matches no flow."
)
class FlowFilter:
    """A filter of flows."""

    project_ids: list[strawberry.ID] | None = optional(
        "Flows of these projects. Only for operator keys. Ignored for all other keys, which always see their own"
        " project."
    )
    ids: list[strawberry.ID] | None = optional("Flows with one of these IDs.")
    name_contains: str | None = optional("Flows whose name contains this text (case-insensitive).")
    enabled: bool | None = optional("If true, only enabled flows; if false, only disabled ones.")
    published: bool | None = optional("If true, only flows with a published version; if false, only those without.")

    def to_domain(self) -> flows.FlowFilter:
        """Returns the filter with its IDs decoded.

        Raises:
            InvalidIdError: a value is not an ID of the expected type.
            InvalidArgumentError: a list is too long, or the text has a character that no name has.
        """
        project_ids, flow_ids, text = self.project_ids, self.ids, self.name_contains
        return flows.FlowFilter(
            project_ids=None if project_ids is None else decode_ids(IdKind.PROJECT, "projectIds", project_ids),
            ids=None if flow_ids is None else decode_ids(IdKind.FLOW, "ids", flow_ids),
            name_contains=None if text is None else _text("nameContains", text),
            enabled=self.enabled,
            published=self.published,
        )


def decode_ids(kind: IdKind, name: str, texts: Sequence[str]) -> list[UUID]:
    """Returns the keys of the IDs `texts`, which the argument `name` gives.

    Raises:
        InvalidIdError: one is not an ID of the kind.
        InvalidArgumentError: there are too many.
    """
    return [ids.decode(kind, text) for text in _bounded(name, texts)]


def check_run_ids(name: str, texts: Sequence[str]) -> Sequence[str]:
    """Returns `texts`, which the argument `name` gives, unchanged.

    Raises:
        InvalidIdError: one is not the ID of a run.
        InvalidArgumentError: there are too many.
    """
    decode_ids(IdKind.RUN, name, texts)
    return texts
