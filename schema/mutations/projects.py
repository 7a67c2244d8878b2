"""Mutations of projects."""

from typing import Annotated

import strawberry

from db import projects as db_projects
from domain.errors import ProjectNotFoundError, ProjectRequiredError, SettingsInvalidError
from resolvers import projects
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.inputs.projects import UpdateProjectInput
from schema.mutations.declaration import mutation, result, success
from schema.types.project import Project


@success
class UpdateProjectSuccess:
    """The project was changed."""

    project: Project = strawberry.field(description="The changed project.")


UpdateProjectResult = Annotated[
    UpdateProjectSuccess | ProjectRequiredError | ProjectNotFoundError | SettingsInvalidError,
    result("UpdateProjectResult", "The changed project, or an error that says why it was not changed."),
]


@strawberry.type(description="Mutations of projects.")
class ProjectMutation:
    """The mutations of projects, a part of the root type."""

    @mutation(Role.ADMIN, "Changes the limits of a project. RUNNING runs continue even if they exceed a new limit.")
    async def update_project(
        self,
        info: Info,
        input: Annotated[UpdateProjectInput, argument("The project and its new limits.")],  # noqa: A002
    ) -> UpdateProjectResult:
        project_id = await projects.update(info.context, input.project_id, input.columns())
        columns = columns_of(info, Project, "project")
        row = await info.context.loaders.load_written(db_projects.by_ids, project_id, columns)
        return UpdateProjectSuccess(project=Project(row=row))
