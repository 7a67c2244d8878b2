"""Declarations of arguments, and of the fields of input types."""

from typing import Any

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField


def argument(description: str) -> Any:
    """Describes an argument: `name: Annotated[str, argument("…")]`."""
    return strawberry.argument(description=description)


def optional(description: str, default: Any = None, *, name: str | None = None) -> Any:
    """Declares a field of an input type that a client can omit; its value is then `default`.

    A default of None is not part of the schema: to a client the field has no default. `strawberry.UNSET` distinguishes
    an omitted field from null.
    """
    return strawberry.field(default=default, description=description, name=name)


def given(**values: Any) -> dict[str, Any]:
    """Returns the values that a client gives, including null: all that are not `strawberry.UNSET`."""
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}


class FlatArguments(FieldExtension):
    """Makes each field of an input class an argument of the extended field, so that several fields can share them.

    The field's resolver has one parameter for them, `arguments`, an instance of the class. The class itself is not part
    of the schema.
    """

    def __init__(self, input_class: type) -> None:
        self._input_class = input_class

    def apply(self, field: StrawberryField) -> None:
        """Replaces the arguments that Strawberry reads from the resolver's signature."""
        definition = get_object_definition(self._input_class, strict=True)
        field.arguments = [_argument_of(input_field) for input_field in definition.fields]

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Any, **kwargs: Any) -> Any:
        """Calls the resolver with an instance of the class."""
        return await next_(source, info, arguments=self._input_class(**kwargs))


def _argument_of(field: StrawberryField) -> StrawberryArgument:
    return StrawberryArgument(
        python_name=field.python_name,
        graphql_name=field.graphql_name,
        type_annotation=field.type_annotation or StrawberryAnnotation(None),
        description=field.description,
        default=field.default,
    )
