"""Draws the fields of a form from a JSON Schema, and reads the values that a browser sends for them.

The schema is written by the author of a flow and may be anything. What has no field of its own, such as `oneOf`, is
answered as JSON text. The form never decides whether an answer is valid: the schema does, when the answer is given.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import orjson

from domain import json_codec

MAX_FIELDS = 100
"""Fields of a form. A schema with more is answered as JSON text."""
_MAX_DEPTH = 3
"""Objects within objects that are drawn as groups."""
_LONG = 200
"""`maxLength` from which a text gets several lines."""
_FORMATS = {
    "date-time": "A time with its time zone, such as 2026-01-31T14:30:00Z or 2026-01-31T14:30:00+01:00.",
    "time": "A time of day with its time zone, such as 14:30:00Z or 14:30:00+01:00.",
    "duration": "A duration, such as PT15M or P1D.",
}
"""How texts of a format are written, for formats of which browsers have no input that is right without scripts."""
_MISSING = object()
_SIMPLE = frozenset({"type", "title", "description", "default", "properties", "required", "items", "enum", "const"}) | {
    *("format", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *(
        "pattern",
        "examples",
        "additionalProperties",
        "uniqueItems",
        "minItems",
        "maxItems",
        "$schema",
        "$id",
        "$comment",
    ),
    *("readOnly", "writeOnly", "deprecated", "minProperties", "maxProperties"),
}
"""Keywords with which a schema can be drawn. Others can change the shape of its values."""


class FieldKind(Enum):
    """How a value is entered."""

    TEXT = auto()
    LONG_TEXT = auto()
    NUMBER = auto()
    CHOICE = auto()
    """One of `options`."""
    CHOICES = auto()
    """Any of `options`, as a list."""
    JSON = auto()
    GROUP = auto()
    """An object with `members`."""


class UnreadableValueError(ValueError):
    """A value that a person entered is not of the type of its field. The message says what is expected."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    """The name in the submitted form. It is made of numbers, so that it needs no escape."""
    kind: FieldKind
    label: str
    help: str | None = None
    required: bool = False
    input_type: str = "text"
    """The type of the HTML input of a TEXT."""
    options: Sequence[tuple[str, Any]] = ()
    """The label and the value of each option; options are submitted by their index."""
    members: Mapping[str, "Field"] = field(default_factory=dict)
    default: Any = _MISSING

    def submitted(self, value: Any) -> Mapping[str, Sequence[str]]:
        """Returns what a browser would submit for `value`."""
        match self.kind:
            case FieldKind.GROUP:
                members = value if isinstance(value, dict) else {}
                inner = (each.submitted(members[key]) for key, each in self.members.items() if key in members)
                return {name: texts for each in inner for name, texts in each.items()}
            case FieldKind.CHOICE:
                return {self.name: self._indexes([value])}
            case FieldKind.CHOICES:
                return {self.name: self._indexes(value if isinstance(value, list) else [])}
            case FieldKind.JSON:
                return {self.name: [json.dumps(value, indent=2, ensure_ascii=False)]}
            case _:
                return {self.name: [str(value)]} if isinstance(value, str | int | float) else {}

    def _indexes(self, values: Sequence[Any]) -> list[str]:
        return [str(index) for index, (_, option) in enumerate(self.options) if any(_same(option, it) for it in values)]

    def defaults(self) -> dict[str, Sequence[str]]:
        """Returns what a browser submits if nobody changes the form."""
        found = dict(self.submitted(self.default)) if self.default is not _MISSING else {}
        for member in self.members.values():
            found = {**member.defaults(), **found}
        return found

    def read(self, form: Mapping[str, Sequence[str]]) -> Any:
        """Returns the value that a submitted form has for this field; MISSING if it has none.

        Raises:
            UnreadableValueError: the text is not of the type of the field.
            NumberOutOfRangeError: it has a number that cannot be kept.
        """
        texts = form.get(self.name, ())
        text = texts[0] if texts else ""
        match self.kind:
            case FieldKind.GROUP:
                members = {key: each.read(form) for key, each in self.members.items()}
                members = {key: value for key, value in members.items() if value is not MISSING}
                return members if members or self.required else MISSING
            case FieldKind.CHOICES:
                chosen = [self._option(each) for each in texts]
                return chosen if chosen or self.required else MISSING
            case _ if not text and not (self.required and self.kind in (FieldKind.TEXT, FieldKind.LONG_TEXT)):
                return MISSING
            case FieldKind.CHOICE:
                return self._option(text)
            case FieldKind.NUMBER | FieldKind.JSON:
                return _parsed(text, self)
            case _:
                # Browsers send line breaks as CRLF, whatever was typed.
                return text.replace("\r\n", "\n")

    def _option(self, index: str) -> Any:
        for number, (_, value) in enumerate(self.options):
            if index == str(number):
                return value
        raise UnreadableValueError(f"{self.label}: choose one of the options.")


MISSING = _MISSING
"""Stands for a value that was not given."""


def root_field(schema: Any) -> Field:
    """Returns the field for the values of a schema: a group for objects, otherwise a single field."""
    drawn = _field(schema, "f", "Your answer", required=True, depth=0)
    if sum(1 for _ in _all(drawn)) > MAX_FIELDS:
        return Field("f", FieldKind.JSON, "Your answer", "An answer in JSON.", required=True)
    return drawn


def _all(drawn: Field) -> Iterator[Field]:
    yield drawn
    for member in drawn.members.values():
        yield from _all(member)


def _field(schema: Any, name: str, label: str, *, required: bool, depth: int) -> Field:
    if not isinstance(schema, dict) or not schema.keys() <= _SIMPLE:
        text = schema.get("description") if isinstance(schema, dict) else None
        title = schema.get("title", label) if isinstance(schema, dict) else label
        return Field(name, FieldKind.JSON, _text(title, label), _help(text, "An answer in JSON."), required)
    title, about = _text(schema.get("title"), label), schema.get("description")
    common = {"required": required, "default": schema.get("default", _MISSING)}
    if "const" in schema or isinstance(schema.get("enum"), list):
        options = [schema["const"]] if "const" in schema else schema["enum"]
        return Field(name, FieldKind.CHOICE, title, _help(about), options=_options(options), **common)
    match schema.get("type"):
        case "object" if isinstance(schema.get("properties"), dict) and depth < _MAX_DEPTH:
            needed = schema.get("required")
            needed = needed if isinstance(needed, list) else []
            members = {
                key: _field(inner, f"{name}_{number}", key, required=key in needed, depth=depth + 1)
                for number, (key, inner) in enumerate(schema["properties"].items())
            }
            return Field(name, FieldKind.GROUP, title, _help(about), members=members, **common)
        case "boolean":
            options = [("Yes", True), ("No", False)]
            return Field(name, FieldKind.CHOICE, title, _help(about), options=options, **common)
        case "integer" | "number":
            return Field(name, FieldKind.NUMBER, title, _help(about), **common)
        case "string":
            length = schema.get("maxLength")
            if isinstance(length, int) and length > _LONG:
                return Field(name, FieldKind.LONG_TEXT, title, _help(about), **common)
            text_format = str(schema.get("format"))
            input_type = {"email": "email", "uri": "url", "date": "date"}.get(text_format, "text")
            hint = _help(about, _FORMATS.get(text_format))
            return Field(name, FieldKind.TEXT, title, hint, input_type=input_type, **common)
        case "array" if isinstance(schema.get("items"), dict) and isinstance(schema["items"].get("enum"), list):
            options = _options(schema["items"]["enum"])
            return Field(name, FieldKind.CHOICES, title, _help(about), options=options, **common)
        case _:
            return Field(name, FieldKind.JSON, title, _help(about, "An answer in JSON."), **common)


def _options(values: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(value if isinstance(value, str) else orjson.dumps(value).decode(), value) for value in values]


def _text(value: Any, default: str) -> str:
    return value if isinstance(value, str) and value else default


def _help(*texts: Any) -> str | None:
    return " ".join(text for text in texts if isinstance(text, str) and text) or None


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def _parsed(text: str, of: Field) -> Any:
    try:
        value = json_codec.parse(text.strip().encode())
    except json.JSONDecodeError:
        expected = "a number" if of.kind is FieldKind.NUMBER else "JSON"
        raise UnreadableValueError(f"{of.label}: this is not {expected}.") from None
    if of.kind is FieldKind.NUMBER and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UnreadableValueError(f"{of.label}: this is not a number.")
    return value
