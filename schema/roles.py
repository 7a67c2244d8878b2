"""Mutations for keys with a role."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver

from resolvers import authorize
from schema.enums import Role
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

    With `arguments`, an input class, its resolver has one parameter for all arguments (`FlatArguments`).
    """
    text = f"{description} Needs the role {role}."
    extensions: list[FieldExtension] = [_Requires(role)]
    if arguments is not None:
        extensions.append(FlatArguments(arguments))
    return cast("Callable[[F], F]", strawberry.mutation(description=text, extensions=extensions))
