"""Arguments that several fields share, declared once as a class."""

from typing import Any

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField


class FlatArguments(FieldExtension):
    """Makes each field of an input class an argument of the extended field.

    The field's resolver has one parameter for them, `arguments`, an instance of the class. The class itself is not part
    of the schema.
    """

    def __init__(self, of: type) -> None:
        self._of = of

    def apply(self, field: StrawberryField) -> None:
        """Replaces the arguments that Strawberry reads from the resolver's signature."""
        field.arguments = [_argument(each) for each in get_object_definition(self._of, strict=True).fields]

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Any, **kwargs: Any) -> Any:
        """Calls the resolver with an instance of the class."""
        return await next_(source, info, arguments=self._of(**kwargs))


def _argument(field: StrawberryField) -> StrawberryArgument:
    # Without a default in the SDL instead of `= null`: the class has it.
    return StrawberryArgument(
        python_name=field.python_name,
        graphql_name=field.graphql_name,
        type_annotation=field.type_annotation or StrawberryAnnotation(None),
        description=field.description,
        default=strawberry.UNSET if field.default is None else field.default,
    )
