"""Mutations of flows and their versions."""

from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db import flows as db_flows
from domain.errors import (
    DefinitionInvalidError,
    FlowNameTakenError,
    FlowNotFoundError,
    InputTooLargeError,
    ProjectNotFoundError,
    ProjectRequiredError,
    RunsNotFinalError,
    SettingsInvalidError,
)
from resolvers import flows
from resolvers.flows import Published
from resolvers.removal import deletions
from schema.arguments import argument, given
from schema.enums import Role
from schema.errors import Problem
from schema.fields import Info, columns_of
from schema.mutations.declaration import mutation, result, success
from schema.types.flow import Flow, FlowVersion

_DEFINITION = "The steps of the flow. Its JSON Schema is at /schemas/flow-definition.json."

_WARNINGS = (
    "Parts of the definition that are allowed and probably mistakes, such as a credential in clear text. At most 20."
)


@success
class CreateFlowSuccess:
    """The flow was created."""

    flow: Flow = strawberry.field(description="The new flow.")
    warnings: list[Problem] = strawberry.field(description=_WARNINGS)


@success
class UpdateFlowSuccess:
    """The flow was changed."""

    flow: Flow = strawberry.field(description="The changed flow.")


@success
class DeleteFlowSuccess:
    """The deletion of the flow was begun, or would be. The numbers are of what was there before."""

    flow: Flow = strawberry.field(description="The flow. It can be read until all of its runs are deleted.")
    runs: int = strawberry.field(description="Runs of the flow, with `liveRuns`.")
    live_runs: int = strawberry.field(description="Runs that have not ended. While there are any, it is refused.")
    flow_versions: int = strawberry.field(description="Versions of the flow.")
    schedules: int = strawberry.field(description="Schedules.")
    webhooks: int = strawberry.field(description="Webhooks.")


@success
class PublishFlowVersionSuccess:
    """The version was published."""

    flow_version: FlowVersion = strawberry.field(description="The new version.")
    warnings: list[Problem] = strawberry.field(description=_WARNINGS)


CreateFlowResult = Annotated[
    CreateFlowSuccess
    | FlowNameTakenError
    | DefinitionInvalidError
    | InputTooLargeError
    | ProjectRequiredError
    | ProjectNotFoundError,
    result("CreateFlowResult", "The new flow, or an error that says why it was not created."),
]
UpdateFlowResult = Annotated[
    UpdateFlowSuccess | FlowNotFoundError | FlowNameTakenError | SettingsInvalidError,
    result("UpdateFlowResult", "The changed flow, or an error that says why it was not changed."),
]
DeleteFlowResult = Annotated[
    DeleteFlowSuccess | FlowNotFoundError | RunsNotFinalError,
    result("DeleteFlowResult", "What is deleted, or an error that says why nothing was."),
]
PublishFlowVersionResult = Annotated[
    PublishFlowVersionSuccess | FlowNotFoundError | DefinitionInvalidError | InputTooLargeError,
    result("PublishFlowVersionResult", "The new version, or an error that says why it was not published."),
]


@strawberry.type(description="Mutations of flows.")
class FlowMutation:
    """The mutations of flows, a part of the root type."""

    @mutation(Role.ADMIN, "Creates a flow, and publishes its first version if a definition is given.")
    async def create_flow(
        self,
        info: Info,
        name: Annotated[str, argument("The name, unique in the project: 1 to 200 characters.")],
        definition: Annotated[JSON | None, argument(f"{_DEFINITION} Default: no version is published.")] = None,
        project_id: Annotated[
            strawberry.ID | None,
            argument("The project of the flow. Required for operator keys. Default: the key's project."),
        ] = None,
    ) -> CreateFlowResult:
        created = await flows.create(info.context, name, definition, project_id)
        return CreateFlowSuccess(flow=await _load_flow(info, created.key), warnings=_warnings(created))

    @mutation(Role.ADMIN, "Renames, enables, disables or limits a flow. Runs that have been started continue.")
    async def update_flow(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, argument("The flow to change.")],
        name: Annotated[
            str | None, argument("The new name: 1 to 200 characters. If omitted or null, the name stays.")
        ] = None,
        enabled: Annotated[
            bool | None, argument("True: runs of the flow can be started. If omitted or null, this stays.")
        ] = None,
        max_concurrent_runs: Annotated[
            int | None,
            argument(
                "The number of runs that can be RUNNING at the same time, at least 1. Null removes the limit. "
                "If omitted, the limit stays."
            ),
        ] = strawberry.UNSET,
    ) -> UpdateFlowResult:
        changes = {column: value for column, value in (("name", name), ("enabled", enabled)) if value is not None}
        changes |= given(max_concurrent_runs=max_concurrent_runs)
        changed_id = await flows.update(info.context, flow_id, changes)
        return UpdateFlowSuccess(flow=await _load_flow(info, changed_id))

    @mutation(
        Role.ADMIN,
        "Deletes a flow: at once its schedules and webhooks, then its runs in the background, with their child runs, at"
        " last its versions and itself. Refused while runs are live. Until then its name is taken, and nothing starts"
        " runs of it. Repeating it changes nothing.",
    )
    async def delete_flow(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, argument("The flow to delete.")],
        dry_run: Annotated[bool, argument("True: nothing is deleted, and the result says what would be.")] = False,
    ) -> DeleteFlowResult:
        deletion = await deletions.delete_flow(info.context, flow_id, dry_run=dry_run)
        return DeleteFlowSuccess(flow=await _load_flow(info, deletion.key), **deletion.contents)

    @mutation(Role.ADMIN, "Publishes a new version of a flow. Runs that have been started keep their version.")
    async def publish_flow_version(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, argument("The flow.")],
        definition: Annotated[JSON, argument(_DEFINITION)],
    ) -> PublishFlowVersionResult:
        published = await flows.publish(info.context, flow_id, definition)
        columns = columns_of(info, FlowVersion, "flowVersion")
        row = await info.context.loaders.load_written(db_flows.versions_by_ids, published.key, columns)
        return PublishFlowVersionSuccess(flow_version=FlowVersion(row=row), warnings=_warnings(published))


def _warnings(published: Published) -> list[Problem]:
    return [Problem(path=warning.path, message=warning.message) for warning in published.warnings]


async def _load_flow(info: Info, flow_id: UUID) -> Flow:
    columns = columns_of(info, Flow, "flow")
    return Flow(row=await info.context.loaders.load_written(db_flows.by_ids, flow_id, columns))
