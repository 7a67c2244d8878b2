"""Declares mutations: the role that each needs, its arguments, and its result."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, cast, dataclass_transform, get_args, get_origin

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver

from resolvers import authorize
from schema.arguments import FlatArguments
from schema.enums import Role
from schema.errors import ERROR_TYPES

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=type)


def mutation(role: Role, description: str, arguments: type | None = None) -> Callable[[F], F]:
    """Declares a mutation for keys that have `role` or a higher one.

    The resolver returns a `result`. With `arguments`, an input class, the resolver has one parameter for all arguments
    (`FlatArguments`).
    """
    extensions: list[FieldExtension] = [_MutationExtension(role)]
    if arguments is not None:
        extensions.append(FlatArguments(arguments))
    text = f"{description} Requires the role {role}."
    return cast("Callable[[F], F]", lambda resolver: _declare(resolver, text, extensions))


def _declare(resolver: Callable[..., Any], description: str, extensions: list[FieldExtension]) -> Any:
    resolver.__annotations__["return"] = _with_error_types(resolver.__annotations__["return"])
    return strawberry.mutation(resolver, description=description, extensions=extensions)


def _with_error_types(annotation: Any) -> Any:
    """Returns a union of a success and errors of `domain.errors` with the GraphQL types of the errors instead."""
    assert get_origin(annotation) is Annotated
    union, *metadata = get_args(annotation)
    members = tuple(ERROR_TYPES.get(member, member) for member in get_args(union))
    return Annotated[(Union[members], *metadata)]  # noqa: UP007


def result(name: str, description: str) -> Any:
    """Names the result of a mutation: `Annotated[Success | FlowNotFoundError, result("…", "…")]`.

    The errors are classes of `domain.errors` that the resolver raises.
    """
    return strawberry.union(name, description=description)


@dataclass_transform(field_specifiers=(strawberry.field,))
def success(declared: T) -> T:
    """Declares the type that a mutation returns if it succeeds. Its docstring is its description."""
    return strawberry.type(declared, description=declared.__doc__)


class _MutationExtension(FieldExtension):
    """Refuses a mutation to keys with a lower role, and shows it the changes of earlier mutations of the request."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def resolve_async(self, next_: AsyncExtensionResolver, source: Any, info: Any, **kwargs: Any) -> Any:
        authorize.require(info.context.viewer, self._role)
        info.context.loaders.clear()
        return await next_(source, info, **kwargs)
