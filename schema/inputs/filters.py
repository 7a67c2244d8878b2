"""The filters and orders of runs and flows, as clients give them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
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
from domain.runs import scope
from domain.runs.filter_field import FilterField, ValueType
from domain.runs.metadata_condition import COMPARISONS, MetadataCondition, split_path
from domain.runs.run_filter import FILTER_FIELDS, MIN_SEARCH, RunFilter, RunOrder
from domain.text import fold
from domain.time import iso_duration
from schema.arguments import optional
from schema.enums import Archived, OrderDirection, RunOrderField
from schema.scalars import BigInt

T = TypeVar("T")

MAX_LIST_VALUES = 1_000
"""Largest number of values in one list of a filter."""
MAX_VALUES = 20_000
"""Largest number of values in all lists of a filter, including its parts: SQLite accepts 32,766 parameters in a
statement."""
MAX_FILTER_DEPTH = 5
"""Largest depth of the `not` and `or` of a filter."""
MAX_PARTS = 50
"""Largest number of filters in the `not` and `or` of a filter, on all levels."""
MAX_CONDITIONS = 50
"""Largest number of conditions on metadata in one list: SQLite nests at most 1,000 conditions."""
MAX_PATH_KEYS = 20
"""Largest number of keys in the path of a value in metadata."""

_SCALARS: dict[ValueType, Any] = {
    ValueType.TEXT: str,
    ValueType.SEARCHED_TEXT: str,
    ValueType.INSTANT: datetime,
    ValueType.MILLISECONDS: BigInt,
    ValueType.FLAG: bool,
    ValueType.DURATION: str,
    ValueType.JSON_OBJECT: JSON,
}


def _name(attribute: str) -> str:
    """Returns the name of an input field in the schema."""
    return to_camel_case(attribute.rstrip("_"))


def _with_declared_fields(cls: type[T]) -> type[T]:
    """Adds an optional input field to `cls` for each field that `RunFilter` declares, in front of its own."""
    declared = {name: _input_type(field) for name, field in FILTER_FIELDS.items()}
    for name, field in FILTER_FIELDS.items():
        setattr(cls, name, optional(field.description, name=_name(name)))
    cls.__annotations__ = declared | cls.__annotations__
    return cls


def _input_type(field: FilterField) -> Any:
    value_type = field.value_type
    if value_type is ValueType.FILTER:
        return "list[FlowRunFilter] | None" if field.is_list else "FlowRunFilter | None"
    if value_type is ValueType.METADATA_CONDITION:
        return "list[MetadataConditionInput] | None"
    if isinstance(value_type, IdKind):
        scalar: Any = strawberry.ID
    else:
        scalar = _SCALARS[value_type] if isinstance(value_type, ValueType) else value_type
    return list[scalar] | None if field.is_list else scalar | None


@strawberry.input(
    name="MetadataCondition",
    description="Conditions on one value in the metadata of a run. Fields are ANDed; a field that is null, blank or "
    "omitted restricts nothing. In metadata, null counts as no value.",
)
class MetadataConditionInput:
    """Conditions on one value in the metadata of a run."""

    path: str = strawberry.field(
        description="The keys that lead to the value, separated by full stops: `customer.id`. A full stop within a "
        "key is written `\\.`, a backslash `\\\\`. Elements of lists cannot be addressed."
    )
    exists: bool | None = optional("If true, a value exists; if false, no value exists.")
    equals: JSON | None = optional("The value is this string, number or boolean.")
    in_: list[JSON] | None = optional(
        "The value is one of these strings, numbers and booleans; no run matches an empty list.", name="in"
    )
    prefix: str | None = optional("The value is a string that begins with this text (case-sensitive).")
    greater_than: float | None = optional("The value is a number greater than this one.")
    at_least: float | None = optional("The value is a number greater than or equal to this one.")
    less_than: float | None = optional("The value is a number less than this one.")
    at_most: float | None = optional("The value is a number less than or equal to this one.")

    def to_domain(self) -> MetadataCondition:
        """Returns the condition.

        Raises:
            InvalidArgumentError: the path has too many keys, or a value cannot be compared.
        """
        path = checked_path(self.path)
        options = None if self.in_ is None else tuple(_json_scalar("in", value) for value in bounded("in", self.in_))
        bounds = {name: getattr(self, name) for name in COMPARISONS}
        for name, bound in bounds.items():
            if bound is not None and not math.isfinite(bound):
                raise InvalidArgumentError(f"`{_name(name)}` must be a finite number.")
        return MetadataCondition(
            path=path,
            exists=self.exists,
            equals=None if self.equals is None else _json_scalar("equals", self.equals),
            one_of=options,
            prefix=None if self.prefix is None else checked_text("prefix", self.prefix),
            **bounds,
        )


@strawberry.input(
    description="A filter of runs. Fields are ANDed, the values of a list are ORed, except `tags` and "
    "`metadataConditions`. A field that is null, omitted or blank restricts nothing, except `archived`. "
    "Blank values are an empty text, an empty object, false, `minDurationMs: 0` and an empty filter. An "
    "empty list matches no run. A run without a value, for instance without `startedAt`, does not match "
    "a condition on it, so it matches the `not` of the condition."
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
            InvalidArgumentError: a list is too long, filters are nested too deeply, or a value is outside its range.
            InputTooLargeError: `metadata` is too large.
        """
        values = _values_of(self, _Budget(), depth=0)
        if self.include_archived or "ids" in values:
            values.setdefault("archived", Archived.INCLUDE)
        return RunFilter(**values)

    @property
    def constrains_archived(self) -> bool:
        """True if the client decides how archived runs are treated."""
        return any(getattr(self, name) is not None for name in ("archived", "include_archived"))

    def text(self) -> str:
        """Returns the given fields as JSON text.

        Raises:
            InputTooLargeError: the text is larger than a run's input may be.
        """
        return json_codec.encode(_given(self), limit=json_codec.MAX_INPUT_BYTES, what="filter")


def scope_from_text(text: str) -> RunFilter:
    """Returns the scope of an access token, from the text that `FlowRunFilter.text` returned when the token was
    created.

    Raises:
        InvalidArgumentError, InvalidIdError, ValueError: another version of the service wrote it, in other terms.
    """
    return scope.check(_read(json_codec.decode(text)).to_domain(), "filter")


def events_filter_from_text(text: str) -> RunFilter:
    """Returns the filter of an endpoint or an alert, of the text that `FlowRunFilter.text` returned.

    Archived runs are included unless the filter says otherwise: an event is sent, whatever became of its run since.

    Raises:
        InvalidArgumentError, InvalidIdError, ValueError: another version of the service wrote it, in other terms.
    """
    given = _read(json_codec.decode(text))
    where = given.to_domain()
    return where if given.constrains_archived else replace(where, archived=Archived.INCLUDE)


def _read(given: Any) -> FlowRunFilter:
    if unknown := given.keys() - {"includeArchived", *map(_name, FILTER_FIELDS)}:
        # If they were ignored, the scope would be wider.
        raise InvalidArgumentError(f"Unknown fields of a filter: {', '.join(sorted(unknown))}.")
    values = {
        attribute: [_read_value(field, each) for each in value] if field.is_list else _read_value(field, value)
        for attribute, field in FILTER_FIELDS.items()
        if (value := given.get(_name(attribute))) is not None
    }
    return FlowRunFilter(**values, include_archived=given.get("includeArchived"))


def _read_value(field: FilterField, value: Any) -> Any:
    match field.value_type:
        case ValueType.FILTER:
            return _read(value)
        case ValueType.METADATA_CONDITION:
            names = (each.name for each in fields(cast("Any", MetadataConditionInput)))
            return MetadataConditionInput(**{name: value.get(_name(name)) for name in names})
        case ValueType.INSTANT:
            return datetime.fromisoformat(value)
        case type() as enum:
            return enum(value)
        case _:
            return value


@dataclass(slots=True)
class _Budget:
    """The remaining parts and values of one filter, under its limits."""

    parts: int = MAX_PARTS
    values: int = MAX_VALUES

    def spend(self, *, parts: int = 0, values: int = 0) -> None:
        """Counts parts and values.

        Raises:
            InvalidArgumentError: the filter has more parts or values than allowed.
        """
        self.parts -= parts
        self.values -= values
        if self.parts < 0:
            raise InvalidArgumentError(f"A filter can have at most {MAX_PARTS} filters in its `not` and `or`.")
        if self.values < 0:
            raise InvalidArgumentError(f"A filter can have at most {MAX_VALUES:,} values in all its lists together.")


def _values_of(filter_: Any, budget: _Budget, depth: int) -> dict[str, Any]:
    """Returns the attributes of the `RunFilter` for a `FlowRunFilter` at this depth, as far as the client gives
    them."""
    if depth > MAX_FILTER_DEPTH:
        raise InvalidArgumentError(f"`not` and `or` can be nested at most {MAX_FILTER_DEPTH} levels deep.")
    values: dict[str, Any] = {}
    for attribute, field in FILTER_FIELDS.items():
        if (value := getattr(filter_, attribute)) is None:
            continue
        if field.value_type is ValueType.FILTER:
            parts = [_part(part, budget, depth + 1) for part in (value if field.is_list else [value])]
            values[attribute] = parts if field.is_list else parts[0]
            continue
        if field.is_list:
            limit = MAX_CONDITIONS if field.value_type is ValueType.METADATA_CONDITION else MAX_LIST_VALUES
            budget.spend(values=len(bounded(_name(attribute), value, limit)))
            if field.value_type is ValueType.METADATA_CONDITION:
                budget.spend(values=sum(len(each.in_ or ()) + each.path.count(".") for each in value))
        values[attribute] = _to_domain(_name(attribute), field, value)
    return values


def _part(filter_: Any, budget: _Budget, depth: int) -> RunFilter:
    budget.spend(parts=1)
    values = _values_of(filter_, budget, depth)
    if filter_.include_archived is False:
        values.setdefault("archived", Archived.EXCLUDE)
    return RunFilter.part(**values)


def _given(value: Any) -> Any:
    """Returns the given fields of an input, as clients write them; other values unchanged."""
    if isinstance(value, list):
        return [_given(each) for each in value]
    if not isinstance(value, FlowRunFilter | MetadataConditionInput):
        return value
    names = (field.name for field in fields(cast("Any", value)))
    return {_name(name): _given(given) for name in names if (given := getattr(value, name)) is not None}


def _to_domain(name: str, field: FilterField, value: Any) -> Any:
    convert = _id_text(field.value_type) if field.is_text else _CONVERTERS.get(field.value_type, lambda _, value: value)
    return [convert(name, each) for each in value] if field.is_list else convert(name, value)


def _decoder(kind: IdKind) -> Callable[[str, str], UUID]:
    return lambda _, text: ids.decode(kind, text)


def _id_text(kind: Any) -> Callable[[str, str], str]:
    return lambda _, text: ids.encode(kind, ids.decode(kind, text))


def checked_text(name: str, text: str) -> str:
    """Returns `text`, a value of the argument `name`, unchanged.

    Raises:
        InvalidArgumentError: it has a character that no stored text has.
    """
    # PostgreSQL's text cannot hold it, so no stored text contains it.
    if "\0" in text:
        raise _nul_error(name)
    return text


def checked_path(text: str) -> tuple[str, ...]:
    """Returns the keys that `text`, the argument `path`, names.

    Raises:
        InvalidArgumentError: there are too many, or one has a character that no stored text has.
    """
    path = split_path(checked_text("path", text))
    if len(path) > MAX_PATH_KEYS:
        raise InvalidArgumentError(f"`path` can have at most {MAX_PATH_KEYS} keys, got {len(path)}.")
    return path


def checked_texts(name: str, texts: Sequence[str]) -> Sequence[str]:
    """Returns `texts`, the values of the argument `name`, unchanged.

    Raises:
        InvalidArgumentError: there are too many, or one has a character that no stored text has.
    """
    return [checked_text(name, text) for text in bounded(name, texts)]


def _nul_error(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"`{name}` must not contain the character U+0000.")


def _searched_text(name: str, text: str) -> str:
    if text and len(fold(text)) < MIN_SEARCH:
        raise InvalidArgumentError(f"`{name}` takes at least {MIN_SEARCH} characters, got {len(text)}.")
    return checked_text(name, text)


def _milliseconds(name: str, value: int) -> int:
    if value < 0:
        raise InvalidArgumentError(f"`{name}` must be at least 0, got {value}.")
    return value


def _duration(name: str, text: str) -> str:
    if not text:
        return text
    try:
        iso_duration.parse(text)
    except ValueError as error:
        raise InvalidArgumentError(f"`{name}` {error}.") from None
    return text


def _json_scalar(name: str, value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise InvalidArgumentError(
            f"`{name}` accepts strings, numbers and booleans. To compare objects and lists, use `metadata`."
        )
    return _without_nul(name, json_codec.encode(value, limit=json_codec.MAX_METADATA_BYTES, what=name))


def _json_object(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        raise InvalidArgumentError(f"`{name}` must be a JSON object.")
    return _without_nul(name, json_codec.encode(value, limit=json_codec.MAX_METADATA_BYTES, what=name))


def _without_nul(name: str, json_text: str) -> str:
    if json_codec.has_nul(json_text):
        raise _nul_error(name)
    return json_text


def bounded(name: str, values: Sequence[Any], limit: int = MAX_LIST_VALUES) -> Sequence[Any]:
    if len(values) > limit:
        raise InvalidArgumentError(f"`{name}` can have at most {limit:,} values, got {len(values):,}.")
    return values


_CONVERTERS: dict[ValueType | IdKind | type[StrEnum], Callable[[str, Any], Any]] = {
    ValueType.TEXT: checked_text,
    ValueType.SEARCHED_TEXT: _searched_text,
    ValueType.MILLISECONDS: _milliseconds,
    ValueType.DURATION: _duration,
    ValueType.METADATA_CONDITION: lambda _, condition: condition.to_domain(),
    ValueType.JSON_OBJECT: _json_object,
    **{kind: _decoder(kind) for kind in IdKind},
}
"""For each type of value, the function that turns the value of an argument, given with its name for errors, into the
value of the filter. Other values stay unchanged."""


@strawberry.input(description="An order of runs. Default: the newest first.")
class FlowRunOrder:
    """An order of runs."""

    field: RunOrderField = optional(
        "The value to order by. A run without such a value comes last in descending order.",
        RunOrderField.CREATED_AT,
    )
    direction: OrderDirection = optional("The direction of the order.", OrderDirection.DESC)

    def to_domain(self) -> RunOrder:
        """Returns the order."""
        return RunOrder(self.field, self.direction is OrderDirection.DESC)


@strawberry.input(
    description="A filter of flows. Fields are ANDed. A field that is null or omitted restricts nothing; an empty "
    "list matches no flow."
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
    published: bool | None = optional("If true, only flows with a published version; if false, only flows without one.")
    held: bool | None = optional("If true, only flows that are held themselves; if false, only those that are not.")

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
            name_contains=None if text is None else checked_text("nameContains", text),
            enabled=self.enabled,
            published=self.published,
            held=self.held,
        )


def decode_ids(kind: IdKind, name: str, texts: Sequence[str]) -> list[UUID]:
    """Returns the keys of the IDs `texts`, which the argument `name` gives.

    Raises:
        InvalidIdError: one is not an ID of the kind.
        InvalidArgumentError: there are too many.
    """
    return [ids.decode(kind, text) for text in bounded(name, texts)]


def check_run_ids(name: str, texts: Sequence[str]) -> Sequence[str]:
    """Returns `texts`, which the argument `name` gives, unchanged.

    Raises:
        InvalidIdError: one is not the ID of a run.
        InvalidArgumentError: there are too many.
    """
    decode_ids(IdKind.RUN, name, texts)
    return texts
