"""Reads what a class of `domain.errors` declares: its default message, its fields, and the errors below a base."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

E = TypeVar("E", bound=Exception)


@dataclass(frozen=True, slots=True)
class ErrorField:
    """A field of an error beside `code` and `message`."""

    type: Any
    description: str


def default_message(error: type[Exception]) -> str:
    """Returns the message of an error that is raised without one."""
    return (error.__doc__ or "").strip()


def fields_of(error: type[Exception]) -> Mapping[str, ErrorField]:
    """Returns the fields that an error declares as `name: Annotated[type, description]`, by name."""
    hints = get_type_hints(error, include_extras=True)
    return {name: ErrorField(*get_args(hint)) for name, hint in hints.items() if get_origin(hint) is Annotated}


def declared(base: type[E]) -> Iterator[type[E]]:
    """Yields the errors below `base`, in the order of their declaration."""
    for error in base.__subclasses__():
        if "code" in vars(error):
            yield error
        yield from declared(error)
