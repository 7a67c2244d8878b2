"""Flows and their versions."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db.sql.rows import AnyRow
from domain.ids import IdKind
from resolvers import runs, schedules, webhooks
from schema.enums import Environment, MissedFires, SkipReason
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

    @field("When runs of the flow are started by themselves; oldest first.")
    async def schedules(self, info: Info) -> list["Schedule"]:
        rows = await schedules.of_flow(info.context, self.row.id, columns_of(info, Schedule))
        return [Schedule(row=row) for row in rows]

    @field("The secret URLs that start runs of the flow; oldest first.")
    async def webhooks(self, info: Info) -> list["Webhook"]:
        rows = await webhooks.of_flow(info.context, self.row.id, columns_of(info, Webhook))
        return [Webhook(row=row) for row in rows]


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


@strawberry.type(description="When runs of a flow are started by themselves, and with what.")
class Schedule(Node):
    """When runs of a flow are started."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.SCHEDULE, "The schedule's ID; its runs have it as their `source`.")
    name: str | None = column("name", "What the schedule is called.")
    enabled: bool = column("enabled", "Whether it starts runs.")
    cron: str = column("cron", "Minute, hour, day of month, month and day of week, or an alias such as `@daily`.")
    time_zone: str = column("time_zone", "The IANA time zone of its local times.")
    missed_fires: MissedFires = column(
        "missed_fires", "What becomes of fire times that passed while no worker ran.", convert=MissedFires
    )
    environment: Environment = column("environment", "Of the runs that it starts.", convert=Environment)
    tags: list[str] = column("tags", "Of the runs that it starts.")
    metadata: JSON = json_column("metadata", "Of the runs that it starts.")
    input: JSON = json_column("input", "What the runs that it starts are given.")
    next_fire_at: datetime | None = column("next_fire_at", "When it starts the next run; null while it is disabled.")
    last_fired_at: datetime | None = column("last_fired_at", "When it last started a run.")
    last_skipped_at: datetime | None = column("last_skipped_at", "The latest fire time at which it started no run.")
    last_skipped_reason: SkipReason | None = column(
        "last_skipped_reason", "Why it started no run then.", convert=SkipReason
    )
    created_at: datetime = column("created_at", "When it was created.")
    updated_at: datetime = column("updated_at", "When it was last changed.")

    @field("The next fire times, as they are while it is enabled.", "cron", "time_zone")
    def next_fires(
        self,
        count: Annotated[int, strawberry.argument(description="How many, from 1 to 100.")] = 5,
    ) -> list[datetime]:
        return schedules.preview(self.row.cron, self.row.time_zone, count)

    @field("The flow.", "flow_id")
    async def flow(self, info: Info) -> Flow:
        return Flow(row=await runs.flow(info.context, self.row.flow_id, columns_of(info, Flow)))


@strawberry.type(description="A secret URL, each call of which starts a run of a flow: POST /hooks/<token>.")
class Webhook(Node):
    """A secret URL that starts runs."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.WEBHOOK, "The webhook's ID; its runs have it as their `source`.")
    name: str = column("name", "What the webhook is called.")
    hint: str = column("hint", "The first characters of its token; the rest is shown once.")
    environment: Environment = column("environment", "Of the runs that it starts.", convert=Environment)
    signature_header: str | None = column(
        "signature_header", "The header that must bear the HMAC-SHA256 of the body; null when calls are not signed."
    )
    created_at: datetime = column("created_at", "When it was created.")
    rotated_at: datetime | None = column("rotated_at", "When it was last given another token.")

    @field("The flow.", "flow_id")
    async def flow(self, info: Info) -> Flow:
        return Flow(row=await runs.flow(info.context, self.row.flow_id, columns_of(info, Flow)))
