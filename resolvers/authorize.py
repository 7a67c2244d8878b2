"""Who may see and do what. What belongs to another project does not exist, for a key that has one."""

from collections.abc import Sequence
from uuid import UUID

from db.sql.rows import AnyRow
from domain.enums import Role
from domain.errors import ForbiddenError, ProjectRequiredError
from resolvers.context import Viewer


def require(viewer: Viewer, role: Role) -> None:
    """Make sure that the viewer may do what `role` may.

    Raises:
        ForbiddenError: it may not.
    """
    if not viewer.role.includes(role):
        raise ForbiddenError(f"This needs a key with the role {role}; the one in use has {viewer.role}.")


def can_see(viewer: Viewer, row: AnyRow | None) -> bool:
    """Whether `row` exists for the viewer; it has a `project_id`."""
    return row is not None and viewer.project_id in (None, row.project_id)


def visible_projects(viewer: Viewer, wanted: Sequence[UUID] | None) -> Sequence[UUID] | None:
    """Of `wanted` (None: of all), the projects that the viewer sees; None: all there are."""
    if viewer.project_id is None:
        return wanted
    return [viewer.project_id] if wanted is None or viewer.project_id in wanted else []


def target_project(viewer: Viewer, wanted: UUID | None) -> UUID | None:
    """The project in which the viewer creates something: its own, or the one that the operator's key names.

    Raises:
        ProjectRequiredError: the operator's key names none.
    """
    if viewer.project_id is not None:
        return viewer.project_id if wanted in (None, viewer.project_id) else None
    if wanted is None:
        raise ProjectRequiredError
    return wanted
