"""Reads single objects that only ADMIN keys see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from domain import ids
from domain.enums import Role
from domain.ids import IdKind
from resolvers import authorize
from resolvers.authorize import ProjectRow
from resolvers.context import Context

R = TypeVar("R", bound=ProjectRow)


async def get(
    context: Context,
    kind: IdKind,
    object_id: str,
    by_ids: Callable[[Any, Sequence[UUID], frozenset[str]], Mapping[UUID, R]],
    columns: frozenset[str],
) -> R | None:
    """Returns the object `object_id`; None if the viewer is no ADMIN or sees no such object.

    Raises:
        InvalidIdError: `object_id` is not the ID of an object of this kind.
    """
    key = ids.decode(kind, object_id)
    if not context.viewer.role.includes(Role.ADMIN):
        return None
    row = await context.loaders.load(by_ids, key, columns)
    return row if authorize.can_see(context.viewer, row) else None
