"""Fields of the flow language that accept a template instead of a value."""

from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, ValidatorFunctionWrapHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

RENDERED = "rendered"
"""The context in which a rendered input is validated: text that looks like a template is data there."""


def is_template(value: Any) -> bool:
    """Returns True if `value` is a string that holds a template."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def has_template(value: Any) -> bool:
    """Returns True if there is a template in `value`, a JSON value: in a string or in a key."""
    if isinstance(value, dict):
        return any(is_template(key) or has_template(entry) for key, entry in value.items())
    if isinstance(value, list):
        return any(map(has_template, value))
    return is_template(value)


class _OrTemplate:
    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_wrap_validator_function(_validated, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": r"\{\{|\{%"}]}


def _validated(value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    return value if info.context != RENDERED and is_template(value) else validate(value)


Templated: TypeAlias = Annotated[T, _OrTemplate()]
"""A value of type T in a rendered input. In a definition, it may be a template instead."""
