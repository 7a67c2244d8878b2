"""Flows, their versions, schedules and webhooks."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db import flows, projects, schedules, webhooks
from db.queue import holds
from db.row_json.sources import Column, Form, Rows
from db.row_types import FlowRow, FlowVersionRow, ScheduleRow, WebhookRow
from db.sql.keyset import Page
from domain import ids, json_codec
from domain.http.webhook_signatures import form_of
from domain.ids import IdKind
from domain.runs.run_filter import RunFilter
from domain.time.cron_text import describe, warnings
from resolvers.flow_runs.flow_stats import FlowStatistics
from resolvers.flow_runs.runs import TriggeredRuns, scoped
from resolvers.flows import VersionList
from resolvers.triggers.schedules import preview
from schema.enums import Environment, MissedFires, ScheduleOverlap, SkipReason, WebhookSignature
from schema.fields import Info, column, columns_of, field, id_column, json_column, link, many, type_named
from schema.inputs.filters import FlowRunFilter
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.relay.node import Node
from schema.types.holds.hold import Hold
from schema.types.project import Project
from schema.types.step_definition import StepDefinition, step_definitions

if TYPE_CHECKING:
    from schema.types.flow_run import FlowRun
    from schema.types.stats import FlowRunStats
else:
    # These modules import this one.
    FlowRun = Annotated["FlowRun", strawberry.lazy("schema.types.flow_run")]
    FlowRunStats = Annotated["FlowRunStats", strawberry.lazy("schema.types.stats")]

_RunsFilter = Annotated[
    FlowRunFilter | None,
    strawberry.argument(description="The runs of the flow to return. Default: all that are not archived."),
]


@strawberry.type(description="A named automation. Its versions define it; new runs execute the published version.")
class Flow(Node):
    """A named automation."""

    row: strawberry.Private[FlowRow]

    id: strawberry.ID = id_column(IdKind.FLOW, "The flow's ID.")
    name: str = column("name", "The flow's name, unique in its project.")
    enabled: bool = column("enabled", "True if runs of the flow can be started.")
    max_concurrent_runs: int | None = column(
        "max_concurrent_runs",
        "The number of runs of the flow that can be RUNNING at the same time; null if only the limit of the "
        "project applies.",
    )
    hold: Hold | None = link(
        "The hold that keeps the runs of the flow from starting; null if there is none. The project may be held, too.",
        "hold_id",
        holds.by_ids,
        "start_hold",
    )
    created_at: datetime = column("created_at", "The instant of the flow's creation.")
    updated_at: datetime = column("updated_at", "The last change of the flow, or its last publication.")
    deleting_since: datetime | None = column(
        "deleting_since",
        "The instant since which the flow is being deleted: its runs are deleted first, in the background. Null if it "
        "is not being deleted.",
    )

    project: Project = link("The project of the flow.", "project_id", projects.by_ids, "project")
    published_version: "FlowVersion | None" = link(
        "The version that new runs execute; null until one is published.",
        "published_version_id",
        flows.versions_by_ids,
        "flow_version",
    )
    schedules: list["Schedule"] = many(
        "The schedules that start runs of the flow, oldest first.",
        Rows("schedule", {"flow_id": "id"}),
        schedules.by_flows,
    )
    webhooks: list["Webhook"] = many(
        "The webhooks that start runs of the flow, oldest first.",
        Rows("webhook", {"flow_id": "id"}),
        webhooks.by_flows,
    )

    @field("The newest run of the flow among those that match the filter; null if there is none.", "id", "project_id")
    async def last_run(self, info: Info, filter: _RunsFilter = None) -> FlowRun | None:  # noqa: A002
        of: type[FlowRun] = type_named(info, "FlowRun")
        rows = await TriggeredRuns(info.context, self._runs(info, filter)).page(columns_of(info, of), Page(1))
        return of(row=rows[0]) if rows else None

    @field("The runs of the flow, newest first.", "id", "project_id")
    async def runs(
        self,
        info: Info,
        filter: _RunsFilter = None,  # noqa: A002
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[FlowRun]:
        source = TriggeredRuns(info.context, self._runs(info, filter))
        return await connect(info, type_named(info, "FlowRun"), source, PageArguments(first, after, last, before))

    @field(
        "Statistics over the runs of the flow. The statistics of all flows of a page are read together.",
        "id",
        "project_id",
    )
    def stats(self, info: Info, filter: _RunsFilter = None) -> FlowRunStats:  # noqa: A002
        where = scoped(info.context, (filter or FlowRunFilter()).to_domain())
        of: type[FlowRunStats] = type_named(info, "FlowRunStats")
        return of(statistics=FlowStatistics(info.context, self.row.id, where))

    @field("The versions of the flow, newest first.", "id")
    async def versions(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection["FlowVersion"]:
        source = VersionList(info.context, self.row.id)
        return await connect(info, FlowVersion, source, PageArguments(first, after, last, before))

    def _runs(self, info: Info, run_filter: FlowRunFilter | None) -> RunFilter:
        where = scoped(info.context, (run_filter or FlowRunFilter()).to_domain())
        is_allowed = where.flow_ids is None or self.row.id in where.flow_ids
        return replace(where, project_ids=[self.row.project_id], flow_ids=[self.row.id] if is_allowed else [])


@strawberry.type(description="A published definition of a flow. A version never changes.")
class FlowVersion(Node):
    """A published definition of a flow."""

    row: strawberry.Private[FlowVersionRow]

    id: strawberry.ID = id_column(IdKind.FLOW_VERSION, "The version's ID.")
    number: int = column("number", "The number of the version, counted from 1 in each flow.")
    step_count: int = column("step_count", "Number of steps in the definition.")
    definition: JSON = json_column("definition", "The definition, exactly as it was published.")
    created_at: datetime = column("created_at", "The instant of the version's publication.")

    @field("The steps of the definition, in their order.", "definition")
    def steps(self) -> list[StepDefinition]:
        return step_definitions(self.row.definition)

    flow: Flow = link("The flow.", "flow_id", flows.by_ids, "flow")


def _triggered_runs(noun: str, filter_of: Callable[[UUID], RunFilter]) -> Any:
    """Declares a field for the runs of a trigger, which `filter_of` selects by the trigger's ID."""

    @field(
        f"The runs that the {noun} started, and their retries, newest first. Archived runs are left out.", "project_id"
    )
    async def runs(
        self: Any, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[FlowRun]:
        where = replace(filter_of(self.row.id), project_ids=[self.row.project_id])
        source = TriggeredRuns(info.context, where)
        return await connect(info, type_named(info, "FlowRun"), source, PageArguments(first, after, last, before))

    return runs


@strawberry.type(description="A cron schedule that starts runs of a flow.")
class Schedule(Node):
    """A cron schedule that starts runs of a flow."""

    row: strawberry.Private[ScheduleRow]

    id: strawberry.ID = id_column(IdKind.SCHEDULE, "The schedule's ID, which is the `source` of its runs.")
    name: str | None = column("name", "The name of the schedule; null if it has none.")
    enabled: bool = column("enabled", "True if the schedule starts runs.")
    cron: str = column("cron", "Minute, hour, day of month, month and day of week, or an alias such as `@daily`.")
    time_zone: str = column("time_zone", "The IANA time zone in which `cron` is evaluated.")
    missed_fires: MissedFires = column(
        "missed_fires", "The policy for fire times that passed while no worker ran.", convert=MissedFires
    )
    overlap: ScheduleOverlap = column(
        "overlap", "The policy for fire times at which a run of the schedule is live.", convert=ScheduleOverlap
    )
    environment: Environment = column(
        "environment", "The environment of the runs that the schedule starts.", convert=Environment
    )
    tags: list[str] = column("tags", "The tags of the runs that the schedule starts.")
    metadata: JSON = json_column("metadata", "The metadata of the runs that the schedule starts.")
    input: JSON = json_column("input", "The input of the runs that the schedule starts.")
    next_fire_at: datetime | None = column("next_fire_at", "The next fire time; null while the schedule is disabled.")
    last_fired_at: datetime | None = column(
        "last_fired_at",
        "The last time at which the schedule started a run; null if it never did.",
    )
    last_skipped_at: datetime | None = column(
        "last_skipped_at",
        "The latest fire time at which the schedule started no run; null if there was none.",
    )
    last_skipped_reason: SkipReason | None = column(
        "last_skipped_reason",
        "The reason why it started no run then; null if there was no such time.",
        convert=SkipReason,
    )
    created_at: datetime = column("created_at", "The creation.")
    updated_at: datetime = column("updated_at", "The time of the last change.")

    @field("`cron` in English words, such as `At 09:00, only on Monday`; null if it cannot be put into words.", "cron")
    def description(self) -> str | None:
        return describe(self.row.cron)

    @field(
        "Warnings for people about `cron`, which may fire at other times than expected; empty if there are none.",
        "cron",
    )
    def warnings(self) -> list[str]:
        return warnings(self.row.cron)

    @field(
        "The next fire times, as if the schedule were enabled. Fewer than `count` if there are no more.",
        "cron",
        "time_zone",
    )
    def next_fires(
        self,
        count: Annotated[int, strawberry.argument(description="The number of fire times, 1 to 100.")] = 5,
    ) -> list[datetime]:
        return preview(self.row.cron, self.row.time_zone, count)

    flow: Flow = link("The flow.", "flow_id", flows.by_ids, "flow")

    runs = _triggered_runs("schedule", lambda key: RunFilter(schedule_ids=[ids.encode(IdKind.SCHEDULE, key)]))


@strawberry.type(description="A secret URL that starts a run of a flow with each call: POST `/hooks/<token>`.")
class Webhook(Node):
    """A secret URL that starts runs."""

    row: strawberry.Private[WebhookRow]

    id: strawberry.ID = id_column(IdKind.WEBHOOK, "The webhook's ID, which is the `source` of its runs.")
    name: str = column("name", "The name of the webhook.")
    hint: str = column("hint", "The first characters of the token. The whole token is shown once, when it is created.")
    environment: Environment = column(
        "environment", "The environment of the runs that the webhook starts.", convert=Environment
    )
    signature_header: str | None = column(
        "signature_header", "The header that must hold a signature of the body; null if calls are not signed."
    )
    input: JSON | None = json_column(
        "input_template", "The template of the input of runs over `request`; null: the input is the request."
    )
    respond: JSON | None = json_column(
        "response_template", "The template of the response; null: the response names the started run."
    )
    accepts_get: bool = column("accepts_get", "True if GET requests start runs, too.")
    exposed_headers: list[str] = column(
        "exposed_headers",
        "The headers that runs get although their names suggest credentials.",
        convert=json_codec.decode,
        written=Column("exposed_headers", Form.JSON),
    )

    calls_per_minute: int | None = column(
        "calls_per_minute", "The calls that are accepted in a minute; null: the default of the service."
    )

    @field("The form in which calls are signed; null if they are not signed.", "signature_header")
    def signature(self) -> WebhookSignature | None:
        header = self.row.signature_header
        return None if header is None else form_of(header)

    created_at: datetime = column("created_at", "The creation.")
    rotated_at: datetime | None = column(
        "rotated_at", "The time of the last rotation of the token; null if there was none."
    )

    flow: Flow = link("The flow.", "flow_id", flows.by_ids, "flow")

    runs = _triggered_runs("webhook", lambda key: RunFilter(webhook_ids=[ids.encode(IdKind.WEBHOOK, key)]))
