"""Decides what a viewer may see and do. A key of one project does not see rows of other projects."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from domain import ids
from domain.enums import Role
from domain.errors import ForbiddenError, InputInvalidError, ProjectRequiredError
from domain.ids import IdKind
from domain.problem import Problem
from resolvers.context import Viewer


class ProjectRow(Protocol):
    """A row with a project. The project is null in rows that concern all projects."""

    @property
    def project_id(self) -> UUID | None: ...


def require(viewer: Viewer, role: Role) -> None:
    """Checks that the viewer has the rights of `role`.

    Raises:
        ForbiddenError: the role of the viewer is lower.
    """
    if not viewer.role.includes(role):
        raise ForbiddenError(f"This needs a key with the role {role}; the key in use has {viewer.role}.")


def can_see(viewer: Viewer, row: ProjectRow | None) -> bool:
    """True if `row` exists and belongs to a project of the viewer. False for access tokens: they see only runs."""
    return viewer.scope is None and row is not None and viewer.project_id in (None, row.project_id)


def require_payloads(viewer: Viewer) -> None:
    """Checks that the viewer may see payloads: inputs, outputs, logs and files.

    Raises:
        ForbiddenError: the key or token was created without access to payloads.
    """
    if not viewer.payloads:
        raise ForbiddenError("The key in use has no access to payloads: inputs, outputs, logs and files.")


@contextmanager
def problems_hidden(viewer: Viewer, path: str) -> Iterator[None]:
    """Withholds from a viewer without access to payloads why a value does not match its schema: the problems quote
    both. `path` is the name of the value.

    Raises:
        InputInvalidError: the block raised it.
    """
    try:
        yield
    except InputInvalidError:
        if viewer.payloads:
            raise
        message = "The value does not match its schema. Only keys with access to payloads see where."
        raise InputInvalidError([Problem(path, message)]) from None


def visible_projects(viewer: Viewer, project_ids: Sequence[UUID] | None) -> Sequence[UUID] | None:
    """Returns the projects among `project_ids` (None: among all projects) that the viewer can see; None if it can see
    all.

    The result is empty for access tokens: they see only runs.
    """
    return [] if viewer.scope is not None else own_projects(viewer, project_ids)


def own_projects(viewer: Viewer, project_ids: Sequence[UUID] | None) -> Sequence[UUID] | None:
    """Returns the projects among `project_ids` (None: among all projects) of the viewer's key or token; None for all
    projects."""
    if viewer.project_id is None:
        return project_ids
    return [viewer.project_id] if project_ids is None or viewer.project_id in project_ids else []


def target_project(viewer: Viewer, project_id: UUID | None) -> UUID | None:
    """Returns the project in which the viewer creates something: its own, or `project_id` for an operator key.

    Returns None if the viewer cannot see `project_id`.

    Raises:
        ProjectRequiredError: an operator key names no project.
    """
    if viewer.project_id is not None:
        return viewer.project_id if project_id in (None, viewer.project_id) else None
    if project_id is None:
        raise ProjectRequiredError
    return project_id


def decode_target_project(viewer: Viewer, project_id: str | None) -> UUID | None:
    """Like `target_project`, with the ID as a client sent it.

    Raises:
        InvalidIdError: `project_id` is not the ID of a project.
        ProjectRequiredError: an operator key names no project.
    """
    return target_project(viewer, ids.decode(IdKind.PROJECT, project_id) if project_id is not None else None)
