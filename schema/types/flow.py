"""Flows and their versions."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from db.rows import AnyRow
from domain.ids import IdKind
from resolvers import runs
from schema.fields import Info, column, columns_of, field, id_column, json_column
from schema.types.node import Node
from schema.types.project import Project


@strawberry.type(description="A named automation. What it does stands in its versions; one of them is published.")
class Flow(Node):
    """A named automation."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.FLOW, "The flow's ID.")
    name: str = column("name", "The flow's name, unique in its project.")
    enabled: bool = column("enabled", "Whether runs of the flow can be started.")
    max_concurrent_runs: int | None = column(
        "max_concurrent_runs", "Runs of the flow that may be RUNNING at once; null for no limit but the project's."
    )
    created_at: datetime = column("created_at", "When the flow was created.")
    updated_at: datetime = column("updated_at", "When the flow was last changed or published.")

    @field("The project that the flow belongs to.", "project_id")
    async def project(self, info: Info) -> Project:
        return Project(row=await runs.project(info.context, self.row.project_id, columns_of(info, Project)))

    @field("The version that new runs execute; null until one is published.", "published_version_id")
    async def published_version(self, info: Info) -> "FlowVersion | None":
        key = self.row.published_version_id
        if key is None:
            return None
        return FlowVersion(row=await runs.flow_version(info.context, key, columns_of(info, FlowVersion)))


@strawberry.type(description="What a flow does, from one publication to the next. A version never changes.")
class FlowVersion(Node):
    """What a flow does."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.FLOW_VERSION, "The version's ID.")
    number: int = column("number", "Counts from 1 in each flow.")
    step_count: int = column("step_count", "How many steps the definition has.")
    definition: JSON = json_column("definition", "The definition, as it was published.")
    created_at: datetime = column("created_at", "When the version was published.")

    @field("The flow.", "flow_id")
    async def flow(self, info: Info) -> Flow:
        return Flow(row=await runs.flow(info.context, self.row.flow_id, columns_of(info, Flow)))
