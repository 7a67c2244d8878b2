"""Mutations for keys with a role."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver

from resolvers import authorize
from schema.enums import Role
from schema.errors import ERROR_TYPES
from schema.flat_arguments import FlatArguments

F = TypeVar("F", bound=Callable[..., Any])


class _Requires(FieldExtension):
    """Lets a field be used by keys with a role, or one above it."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Any, **kwargs: Any) -> Any:
        authorize.require(info.context.viewer, self._role)
        return await next_(source, info, **kwargs)


def mutation(role: Role, description: str, arguments: type | None = None) -> Callable[[F], F]:
    """A mutation for keys that have `role` or one above it.

    The resolver's result is annotated with a union of a success and the errors of `domain.errors` that it raises; in
    the schema their GraphQL types take the errors' place.
    With `arguments`, an input class, its resolver has one parameter for all arguments (`FlatArguments`).
    """
    text = f"{description} Needs the role {role}."
    extensions: list[FieldExtension] = [_Requires(role)]
    if arguments is not None:
        extensions.append(FlatArguments(arguments))
    declare = strawberry.mutation(description=text, extensions=extensions)

    def decorate(resolver: F) -> F:
        resolver.__annotations__["return"] = _graphql_union(resolver.__annotations__["return"])
        return cast("F", declare(resolver))

    return decorate


def _graphql_union(annotation: Any) -> Any:
    """`annotation`, a union, with the GraphQL types of its errors."""
    assert get_origin(annotation) is Annotated
    union, *metadata = get_args(annotation)
    members = tuple(ERROR_TYPES.get(member, member) for member in get_args(union))
    return Annotated[(Union[members], *metadata)]  # noqa: UP007
