"""Projects and the viewer."""

from datetime import datetime

import strawberry

from db.sql.rows import AnyRow
from domain import clock, json_codec
from domain.ids import IdKind
from resolvers import bulk, projects, runs
from resolvers.context import Viewer as KeyInUse
from resolvers.pagination import MAX_PAGE
from resolvers.start import MAX_TAGS, MAX_WAIT_MS
from schema.cost import MAX_COST, MAX_DEPTH
from schema.enums import QuotaPeriod, Role
from schema.fields import Info, column, columns_of, field, id_column
from schema.types.node import Node


@strawberry.type(description="A tenant: its keys, flows and runs are seen by no other.")
class Project(Node):
    """A tenant."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.PROJECT, "The project's ID.")
    name: str = column("name", "The project's name.")
    retry_limit: int = column("retry_limit", "How many retries may follow a run in one chain.")
    max_concurrent_runs: int | None = column(
        "max_concurrent_runs", "Runs that may be RUNNING at once; null for no limit. Further ones wait for a place."
    )
    quota_runs: int | None = column(
        "quota_runs", "Runs that may be started in one period; null for no quota. Further ones become QUOTA_EXCEEDED."
    )
    quota_period: QuotaPeriod | None = column(
        "quota_period", "How long a quota lasts; null without one.", convert=QuotaPeriod
    )
    retention_days: int | None = column(
        "retention_days", "Days for which step data of runs are kept after their end; null: as the service is set."
    )
    created_at: datetime = column("created_at", "When the project was created.")

    @field("Runs started in the present period, retries and child runs too; null without a quota.", "quota_runs")
    async def quota_used(self, info: Info) -> int | None:
        return await projects.quota_used(info.context, self.row.id) if self.row.quota_runs is not None else None

    @field("When the next period begins; null without a quota.", "quota_period")
    def quota_resets_at(self) -> datetime | None:
        period = self.row.quota_period
        return QuotaPeriod(period).ends_at(clock.now()) if period is not None else None


@strawberry.type(description="What a request may ask for at most.")
class Limits:
    """What a request may ask for at most."""

    max_page_size: int = strawberry.field(default=MAX_PAGE, description="`first` and `last` of a connection.")
    max_query_depth: int = strawberry.field(default=MAX_DEPTH, description="Levels of nested fields.")
    max_query_cost: int = strawberry.field(default=MAX_COST, description="Fields, multiplied by page sizes.")
    max_input_bytes: int = strawberry.field(
        default=json_codec.MAX_INPUT_BYTES, description="JSON of a run's input, and of a step's output."
    )
    max_metadata_bytes: int = strawberry.field(
        default=json_codec.MAX_METADATA_BYTES, description="JSON of a run's metadata."
    )
    max_definition_bytes: int = strawberry.field(
        default=json_codec.MAX_DEFINITION_BYTES, description="JSON of a flow definition."
    )
    max_tags: int = strawberry.field(default=MAX_TAGS, description="Tags of a run.")
    max_bulk_operations: int = strawberry.field(
        default=bulk.MAX_UNDER_WAY, description="Bulk operations of a project that are under way at once."
    )
    max_wait_ms: int = strawberry.field(default=MAX_WAIT_MS, description="`waitMs`, in milliseconds.")


@strawberry.type(description="The key in use.")
class Viewer:
    """The key in use."""

    key: strawberry.Private[KeyInUse]

    @field("The name that the key was given.")
    def key_name(self) -> str:
        return self.key.name

    @field("What the key may do.")
    def role(self) -> Role:
        return self.key.role

    @field("The project that the key belongs to; null for the operator's key, which sees all.")
    async def project(self, info: Info) -> Project | None:
        if self.key.project_id is None:
            return None
        return Project(row=await runs.project(info.context, self.key.project_id, columns_of(info, Project)))

    @field("What a request may ask for at most.")
    def limits(self) -> Limits:
        return Limits()
