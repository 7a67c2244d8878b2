"""Mutations that hold and release the starts of flows and projects."""

from typing import Annotated
from uuid import UUID

import strawberry

from db import flows as db_flows
from db import projects as db_projects
from domain.errors import FlowNotFoundError, ProjectNotFoundError, ProjectRequiredError
from resolvers.holds import holds
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.mutations.declaration import mutation, result, success
from schema.types.flow import Flow
from schema.types.project import Project

_Reason = Annotated[str | None, argument("Why, for others: 1 to 200 characters.")]
_FlowId = Annotated[strawberry.ID, argument("The flow.")]
_ProjectId = Annotated[
    strawberry.ID | None, argument("The project. Required for operator keys; by default the key's project.")
]


@success
class HoldFlowSuccess:
    """The starts of the flow are held."""

    flow: Flow = strawberry.field(description="The flow.")


@success
class ReleaseFlowSuccess:
    """The runs of the flow start."""

    flow: Flow = strawberry.field(description="The flow.")


@success
class HoldProjectSuccess:
    """The starts of the project are held."""

    project: Project = strawberry.field(description="The project.")


@success
class ReleaseProjectSuccess:
    """The runs of the project start, except those of flows that are held themselves."""

    project: Project = strawberry.field(description="The project.")


HoldFlowResult = Annotated[
    HoldFlowSuccess | FlowNotFoundError,
    result("HoldFlowResult", "The flow that is held, or an error that says why it is not."),
]
ReleaseFlowResult = Annotated[
    ReleaseFlowSuccess | FlowNotFoundError,
    result("ReleaseFlowResult", "The flow that was released, or an error that says why it was not."),
]
HoldProjectResult = Annotated[
    HoldProjectSuccess | ProjectNotFoundError | ProjectRequiredError,
    result("HoldProjectResult", "The project that is held, or an error that says why it is not."),
]
ReleaseProjectResult = Annotated[
    ReleaseProjectSuccess | ProjectNotFoundError | ProjectRequiredError,
    result("ReleaseProjectResult", "The project that was released, or an error that says why it was not."),
]


@strawberry.type(description="Mutations of holds.")
class HoldMutation:
    """The mutations of holds, a part of the root type."""

    @mutation(
        Role.OPERATOR,
        "Holds the starts of a flow: its runs are created as always, whatever starts them, and wait for its release."
        " Runs that have started go on. A flow that is held already gets the new reason.",
    )
    async def hold_flow(self, info: Info, flow_id: _FlowId, reason: _Reason = None) -> HoldFlowResult:
        key = await holds.hold_flow(info.context, flow_id, reason)
        return HoldFlowSuccess(flow=await _written_flow(info, key))

    @mutation(
        Role.OPERATOR,
        "Releases the starts of a flow that is held: the runs that wait start in their old order. Does nothing if it is"
        " not held.",
    )
    async def release_flow(self, info: Info, flow_id: _FlowId) -> ReleaseFlowResult:
        key = await holds.release_flow(info.context, flow_id)
        return ReleaseFlowSuccess(flow=await _written_flow(info, key))

    @mutation(
        Role.OPERATOR,
        "Holds the starts of all flows of a project, as `holdFlow` does for one.",
    )
    async def hold_project(
        self, info: Info, project_id: _ProjectId = None, reason: _Reason = None
    ) -> HoldProjectResult:
        key = await holds.hold_project(info.context, project_id, reason)
        return HoldProjectSuccess(project=await _written_project(info, key))

    @mutation(
        Role.OPERATOR,
        "Releases the starts of a project that is held. Flows that are held themselves stay so. Does nothing if the"
        " project is not held.",
    )
    async def release_project(self, info: Info, project_id: _ProjectId = None) -> ReleaseProjectResult:
        key = await holds.release_project(info.context, project_id)
        return ReleaseProjectSuccess(project=await _written_project(info, key))


async def _written_flow(info: Info, key: UUID) -> Flow:
    columns = columns_of(info, Flow, "flow")
    return Flow(row=await info.context.loaders.load_written(db_flows.by_ids, key, columns))


async def _written_project(info: Info, key: UUID) -> Project:
    columns = columns_of(info, Project, "project")
    return Project(row=await info.context.loaders.load_written(db_projects.by_ids, key, columns))
