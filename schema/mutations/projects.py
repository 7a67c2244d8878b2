"""Mutations of projects."""

from typing import Annotated

import strawberry

from db import projects as db_projects
from domain.errors import ProjectNotFoundError, ProjectRequiredError, RunsNotFinalError, SettingsInvalidError
from resolvers import projects
from resolvers.removal import deletions
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


@success
class DeleteProjectSuccess:
    """The deletion of the project was begun, or would be. The numbers are of what was there before."""

    project: Project = strawberry.field(description="The project. It can be read until all of it is deleted.")
    runs: int = strawberry.field(description="Runs of the project, with `liveRuns`.")
    live_runs: int = strawberry.field(description="Runs that have not ended. While there are any, it is refused.")
    flows: int = strawberry.field(description="Flows.")
    flow_versions: int = strawberry.field(description="Versions of flows.")
    schedules: int = strawberry.field(description="Schedules.")
    webhooks: int = strawberry.field(description="Webhooks.")
    endpoints: int = strawberry.field(description="Endpoints.")
    alerts: int = strawberry.field(description="Alerts.")
    secrets: int = strawberry.field(description="Secrets.")
    api_keys: int = strawberry.field(description="API keys, with those that were revoked or have expired.")
    bulk_operations: int = strawberry.field(description="Bulk operations.")


DeleteProjectResult = Annotated[
    DeleteProjectSuccess | ProjectNotFoundError | RunsNotFinalError,
    result("DeleteProjectResult", "What is deleted, or an error that says why nothing was."),
]
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

    @mutation(
        Role.ADMIN,
        "Deletes a project with all that belongs to it: at once its schedules, webhooks, secrets and API keys, then its"
        " runs in the background, at last its flows and itself. Refused while runs are live. The audit log stays."
        " Repeating it changes nothing.",
    )
    async def delete_project(
        self,
        info: Info,
        project_id: Annotated[strawberry.ID, argument("The project to delete.")],
        dry_run: Annotated[bool, argument("True: nothing is deleted, and the result says what would be.")] = False,
    ) -> DeleteProjectResult:
        deletion = await deletions.delete_project(info.context, project_id, dry_run=dry_run)
        columns = columns_of(info, Project, "project")
        row = await info.context.loaders.load_written(db_projects.by_ids, deletion.key, columns)
        return DeleteProjectSuccess(project=Project(row=row), **deletion.contents)
