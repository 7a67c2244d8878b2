"""Projects and the viewer."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from db import projects
from db import secrets as db_secrets
from db.queue import holds, quota
from db.removal import expiry
from db.row_json.sources import Rows
from db.row_types import ProjectRow
from domain import ids, json_codec
from domain.ids import IdKind
from domain.time import clock
from resolvers import bulk
from resolvers.context import Viewer as KeyInUse
from resolvers.flow_runs.waiting import MAX_WAIT_MS
from resolvers.removal.expired_runs import expired_runs
from resolvers.values import MAX_TAGS
from schema.arguments import argument
from schema.cost import MAX_COST, MAX_DEPTH
from schema.enums import QuotaPeriod, Role, RunStatus
from schema.fields import Info, column, columns_of, field, id_column, link, many, type_named
from schema.inputs.projects import RunRetentionInput, retention_of
from schema.relay.connection import MAX_PAGE
from schema.relay.node import Node
from schema.types.holds.hold import Hold
from schema.types.secret import Secret

if TYPE_CHECKING:
    from schema.types.stats import StatusCount
else:
    # This module imports this one.
    StatusCount = Annotated["StatusCount", strawberry.lazy("schema.types.stats")]


@strawberry.type(description="For how long runs that ended with a status are kept.")
class RunRetention:
    """For how long runs that ended with a status are kept."""

    status: RunStatus = strawberry.field(description="The status.")
    days: int = strawberry.field(description="Days after the end of a run until it is deleted.")


@strawberry.type(description="Runs that the retention of a project takes.")
class ExpiredRuns:
    """Runs that the retention of a project takes."""

    to_delete: list[StatusCount] = strawberry.field(description="Runs to be deleted, by each status with a retention.")
    to_archive: int = strawberry.field(description="Runs to be archived.")


@strawberry.type(description="A tenant. Keys of one project cannot see flows and runs of another.")
class Project(Node):
    """A tenant."""

    row: strawberry.Private[ProjectRow]

    id: strawberry.ID = id_column(IdKind.PROJECT, "The project's ID.")
    name: str = column("name", "The project's name.")
    retry_limit: int = column("retry_limit", "The largest number of retries that can follow a run in one chain.")
    max_concurrent_runs: int | None = column(
        "max_concurrent_runs",
        "The number of runs that can be RUNNING at the same time; null for no limit. Further runs wait for a slot.",
    )
    quota_runs: int | None = column(
        "quota_runs",
        "The number of runs that can be started in one period; null for no quota. Further runs end as QUOTA_EXCEEDED.",
    )
    quota_period: QuotaPeriod | None = column(
        "quota_period", "The period of the quota; null without a quota.", convert=QuotaPeriod
    )
    retention_days: int | None = column(
        "retention_days",
        "Days for which step data is kept after the end of a run; null for the default of the service.",
    )
    hold: Hold | None = link(
        "The hold that keeps the runs of all flows from starting; null if there is none.",
        "hold_id",
        holds.by_ids,
        "start_hold",
    )
    archive_succeeded_after_days: int | None = column(
        "archive_after_days",
        "Days after their end at which SUCCEEDED runs are archived; null if none is archived by itself.",
    )
    created_at: datetime = column("created_at", "The instant of the project's creation.")
    deleting_since: datetime | None = column(
        "deleting_since",
        "The instant since which the project is being deleted: its runs are deleted first, in the background. "
        "Null if it is not being deleted.",
    )

    secrets: list[Secret] = many(
        "The secrets of the project, oldest first. Their values cannot be read.",
        Rows("secret", {"project_id": "id"}),
        db_secrets.by_projects,
    )

    @field("For how long runs are kept, by status. Runs with other statuses are kept for ever.", "run_retention")
    def run_retention(self) -> list[RunRetention]:
        rules = expiry.parse(self.row.run_retention)
        return [RunRetention(status=status, days=days) for status, days in rules.items()]

    @field(
        "The runs that the retention of the project would delete now, and those that would be archived; with arguments,"
        " as if these were its settings. Runs without a parent are counted: child runs go with the run at the top, and"
        " families that have not ended stay until they have.",
        *("id", "run_retention", "archive_after_days"),
    )
    async def expired_runs(
        self,
        info: Info,
        run_retention: Annotated[
            list[RunRetentionInput] | None, argument("The retention. By default that of the project.")
        ] = None,
        archive_succeeded_after_days: Annotated[
            int | None, argument("Days until SUCCEEDED runs are archived. By default those of the project.")
        ] = None,
    ) -> ExpiredRuns:
        row = self.row
        retention = expiry.parse(row.run_retention) if run_retention is None else retention_of(run_retention)
        days = archive_succeeded_after_days if archive_succeeded_after_days is not None else row.archive_after_days
        found = await expired_runs(info.context.database, row.id, retention, days)
        of: type[StatusCount] = type_named(info, "StatusCount")
        counts = [of(status=status, count=count) for status, count in found.to_delete.items()]
        return ExpiredRuns(to_delete=counts, to_archive=found.to_archive)

    @field(
        "The number of runs started in the current period, including retries and child runs; null without a quota.",
        "quota_runs",
    )
    async def quota_used(self, info: Info) -> int | None:
        if self.row.quota_runs is None:
            return None
        return await info.context.loaders.load(quota.used_by_projects, self.row.id) or 0

    @field("The start of the next period; null without a quota.", "quota_period")
    def quota_resets_at(self) -> datetime | None:
        period = self.row.quota_period
        return QuotaPeriod(period).ends_at(clock.now()) if period is not None else None


@strawberry.type(description="The limits of a request.")
class Limits:
    """The limits of a request."""

    max_page_size: int = strawberry.field(
        default=MAX_PAGE, description="The largest `first` and `last` of a connection."
    )
    max_query_depth: int = strawberry.field(default=MAX_DEPTH, description="The deepest level of nested fields.")
    max_query_cost: int = strawberry.field(
        default=MAX_COST, description="The highest cost of a query: its fields, multiplied by page sizes."
    )
    max_input_bytes: int = strawberry.field(
        default=json_codec.MAX_INPUT_BYTES,
        description="Largest size in bytes of the JSON input of a run, and of the output of a step.",
    )
    max_metadata_bytes: int = strawberry.field(
        default=json_codec.MAX_METADATA_BYTES, description="Largest size in bytes of the JSON metadata of a run."
    )
    max_definition_bytes: int = strawberry.field(
        default=json_codec.MAX_DEFINITION_BYTES, description="Largest size in bytes of a flow definition as JSON."
    )
    max_tags: int = strawberry.field(default=MAX_TAGS, description="Largest number of tags of a run.")
    max_bulk_operations: int = strawberry.field(
        default=bulk.MAX_ACTIVE, description="Largest number of active bulk operations of a project."
    )
    cost_per_minute: int | None = strawberry.field(
        description="What the operations and downloads of the key may cost in a minute; null: there is no limit."
    )
    max_wait_ms: int = strawberry.field(default=MAX_WAIT_MS, description="The largest `waitMs`, in milliseconds.")


@strawberry.type(description="The API key of the request, or the session of a person who signed in.")
class Viewer:
    """The API key of the request, or the session of a person."""

    key: strawberry.Private[KeyInUse]

    @field("The name of the key or of the person.")
    def key_name(self) -> str:
        return self.key.name

    @field("The role of the key.")
    def role(self) -> Role:
        return self.key.role

    @field("The project of the key; null for operator keys, which can see all projects.")
    async def project(self, info: Info) -> Project | None:
        if self.key.project_id is None:
            return None
        columns = columns_of(info, Project)
        return Project(row=await info.context.loaders.load_existing(projects.by_ids, self.key.project_id, columns))

    @field("The ID of the person who signed in through the identity provider; null for an API key.")
    def user_id(self) -> strawberry.ID | None:
        key = self.key.user_id
        return strawberry.ID(ids.encode(IdKind.USER, key)) if key is not None else None

    @field("The projects that this person may choose when signing in. Empty for an API key.")
    async def granted_projects(self, info: Info) -> list[Project]:
        columns = columns_of(info, Project)
        keys = self.key.granted_project_ids
        found = await asyncio.gather(*(info.context.loaders.load(projects.by_ids, key, columns) for key in keys))
        return [Project(row=row) for row in found if row is not None]

    @field(
        "True if the key can read inputs, outputs, summaries, details of errors, logs and files of runs. If false, a"
        " document that selects one of them is refused, unless `@include` leaves it out."
    )
    def payloads(self) -> bool:
        return self.key.payloads

    @field("The limits of a request.")
    def limits(self, info: Info) -> Limits:
        budgets = info.context.budgets
        return Limits(cost_per_minute=budgets.limit_of(self.key.cost_per_minute) if budgets is not None else None)
