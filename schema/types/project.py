"""Projects and the viewer."""

from datetime import datetime

import strawberry

from db import projects
from db import secrets as db_secrets
from db.queue import holds, quota
from db.row_json.sources import Rows
from db.row_types import ProjectRow
from domain import json_codec
from domain.ids import IdKind
from domain.time import clock
from resolvers import bulk
from resolvers.context import Viewer as KeyInUse
from resolvers.flow_runs.waiting import MAX_WAIT_MS
from resolvers.values import MAX_TAGS
from schema.cost import MAX_COST, MAX_DEPTH
from schema.enums import QuotaPeriod, Role
from schema.fields import Info, column, columns_of, field, id_column, link, many
from schema.types.connection import MAX_PAGE
from schema.types.holds.hold import Hold
from schema.types.node import Node
from schema.types.secret import Secret


@strawberry.type(description="A tenant. Keys of one project see no flows and runs of another.")
class Project(Node):
    """A tenant."""

    row: strawberry.Private[ProjectRow]

    id: strawberry.ID = id_column(IdKind.PROJECT, "The project's ID.")
    name: str = column("name", "The project's name.")
    retry_limit: int = column("retry_limit", "Retries that may follow a run in one chain.")
    max_concurrent_runs: int | None = column(
        "max_concurrent_runs", "Runs that may be RUNNING at once; null for no limit. Further runs wait for a slot."
    )
    quota_runs: int | None = column(
        "quota_runs", "Runs that may be started in one period; null for no quota. Further runs end as QUOTA_EXCEEDED."
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
    created_at: datetime = column("created_at", "The creation of the project.")

    secrets: list[Secret] = many(
        "The secrets of the project, oldest first. Their values cannot be read.",
        Rows("secret", {"project_id": "id"}),
        db_secrets.by_projects,
    )

    @field("Runs started in the current period, with retries and child runs; null without a quota.", "quota_runs")
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
        description="Bytes of JSON in the input of a run, and in the output of a step.",
    )
    max_metadata_bytes: int = strawberry.field(
        default=json_codec.MAX_METADATA_BYTES, description="Bytes of JSON in the metadata of a run."
    )
    max_definition_bytes: int = strawberry.field(
        default=json_codec.MAX_DEFINITION_BYTES, description="Bytes of JSON in a flow definition."
    )
    max_tags: int = strawberry.field(default=MAX_TAGS, description="Tags of a run.")
    max_bulk_operations: int = strawberry.field(
        default=bulk.MAX_ACTIVE, description="Bulk operations of a project that may run at once."
    )
    cost_per_minute: int | None = strawberry.field(
        description="What the operations of the key may cost in a minute; null: there is no limit."
    )
    max_wait_ms: int = strawberry.field(default=MAX_WAIT_MS, description="The largest `waitMs`, in milliseconds.")


@strawberry.type(description="The API key of the request.")
class Viewer:
    """The API key of the request."""

    key: strawberry.Private[KeyInUse]

    @field("The name of the key.")
    def key_name(self) -> str:
        return self.key.name

    @field("The role of the key: what it may do.")
    def role(self) -> Role:
        return self.key.role

    @field("The project of the key; null for operator keys, which see all projects.")
    async def project(self, info: Info) -> Project | None:
        if self.key.project_id is None:
            return None
        columns = columns_of(info, Project)
        return Project(row=await info.context.loaders.load_existing(projects.by_ids, self.key.project_id, columns))

    @field("The limits of a request.")
    def limits(self, info: Info) -> Limits:
        budgets = info.context.budgets
        return Limits(cost_per_minute=budgets.limit_of(self.key.cost_per_minute) if budgets is not None else None)
