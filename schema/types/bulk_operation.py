"""Bulk operations, their plans and outcomes."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db import projects
from db.bulk import outcomes
from db.bulk import reads as bulk_reads
from db.bulk.reads import OutcomeFilter
from db.row_types import BulkOperationRow, BulkOutcomeRow
from db.runs import reads as run_reads
from db.sql.keyset import Page
from domain import ids, json_codec
from domain.bulk import ELIGIBLE
from domain.ids import IdKind
from resolvers import bulk
from schema.enums import BulkKind, BulkReason, BulkResult, BulkStatus, RetryStrategy
from schema.fields import Info, column, columns_of, field, id_column, json_column
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.relay.node import Node
from schema.scalars import BigInt
from schema.types.actor import Actor, actor
from schema.types.flow_run import FlowRun
from schema.types.project import Project

Results = Annotated[
    list[BulkResult] | None,
    strawberry.argument(description="Only outcomes with one of these results. Default: all results."),
]
Reasons = Annotated[
    list[BulkReason] | None,
    strawberry.argument(
        description="Only outcomes with one of these reasons. Default: outcomes with any reason or none."
    ),
]


@strawberry.type(description="The outcome of one run in a bulk operation.")
class BulkOutcome:
    """The outcome of one run."""

    row: strawberry.Private[BulkOutcomeRow]

    result: BulkResult = column("result", "The result for the run.", convert=BulkResult)
    reason: BulkReason | None = column(
        "reason", "The reason why the run was skipped or failed. Null for other results.", convert=BulkReason
    )
    at: datetime | None = column("at", "The instant at which the run was processed. Null while it is PENDING.")
    due_at: datetime | None = column(
        "due_at",
        "The instant at which the retry is due, by the pace of the operation. Null for operations other than retries.",
    )

    @field("The run's ID.", "run_id")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field(
        "The reason why the dry run found the run ineligible. Null if it was eligible, or if there was no dry run.",
        "planned_reason",
    )
    def planned_reason(self) -> BulkReason | None:
        reason = self.row.planned_reason
        return None if reason in (None, ELIGIBLE) else BulkReason(reason)

    @field("The run. Null if it no longer exists.", "run_id")
    async def run(self, info: Info) -> FlowRun | None:
        row = await info.context.loaders.load(run_reads.by_ids, self.row.run_id, columns_of(info, FlowRun))
        return FlowRun(row=row) if row else None

    @field("The retry of the run. Null if there is none.", "new_run_id")
    async def new_run(self, info: Info) -> FlowRun | None:
        if self.row.new_run_id is None:
            return None
        row = await info.context.loaders.load(run_reads.by_ids, self.row.new_run_id, columns_of(info, FlowRun))
        return FlowRun(row=row) if row else None


@strawberry.type(description="The number of runs of a bulk operation with the same reason.")
class BulkReasonCount:
    """The number of runs with the same reason."""

    reason: BulkReason = strawberry.field(description="The reason why the runs are not changed.")
    count: int = strawberry.field(description="Number of runs.")


@strawberry.type(
    description="What a dry run found. No run was changed; the same mutation with `planId` executes the plan, on"
    " exactly the runs that were found."
)
class BulkPlan:
    """The result of a dry run."""

    row: strawberry.Private[BulkOperationRow]

    plan_id: strawberry.ID = column("id", "The `planId` that executes the plan.", convert=lambda key: _id(key))
    expires_at: datetime = column("expires_at", "The instant until which the plan can be executed.")
    became_eligible: int = column(
        "became_eligible", "Number of runs that the dry run found ineligible and the execution changed."
    )
    became_ineligible: int = column(
        "became_ineligible", "Number of runs that the dry run found eligible and the execution could not change."
    )

    @field("Number of runs that the execution would change.")
    async def eligible(self, info: Info) -> int:
        return (await _planned_reasons(info, self.row.id)).get(ELIGIBLE, 0)

    @field("Numbers of runs that the execution would not change, by reason.")
    async def ineligible(self, info: Info) -> list[BulkReasonCount]:
        counts = await _planned_reasons(info, self.row.id)
        return _reason_counts({reason: count for reason, count in counts.items() if reason != ELIGIBLE})

    @field(f"The first {bulk.SAMPLE_SIZE} runs. `BulkOperation.outcomes` lists all.")
    async def sample(self, info: Info) -> list[BulkOutcome]:
        first = Page(bulk.SAMPLE_SIZE)
        rows = await info.context.database.read(bulk_reads.outcomes_page, self.row.id, OutcomeFilter(), first)
        return [BulkOutcome(row=row) for row in rows]


@strawberry.type(
    description="One change of many runs. The set of runs is fixed when the operation starts; runs are processed in "
    "the order of their creation, each exactly once, even if the service restarts."
)
class BulkOperation(Node):
    """One change of many runs."""

    row: strawberry.Private[BulkOperationRow]

    id: strawberry.ID = id_column(IdKind.BULK_OPERATION, "The operation's ID.")
    kind: BulkKind = column("kind", "The kind of the operation.", convert=BulkKind)
    status: BulkStatus = column("status", "The status of the operation.", convert=BulkStatus)
    strategy: RetryStrategy | None = column(
        "strategy", "Where retries start. Null for operations that are not retries.", convert=RetryStrategy
    )
    step_name: str | None = column("step_name", "The step at which retries FROM_STEP start. Null for other operations.")
    filter: JSON | None = json_column(
        "filter",
        "The filter, as the client sent it. A bulk erase keeps only the values of `ids`, `projectIds` and `flowIds`; "
        "the other fields are null. Null if an earlier operation selected the runs.",
    )
    excluded_ids: list[strawberry.ID] = column(
        "excluded_ids", "The runs to leave out, as the client sent them.", convert=json_codec.decode
    )
    max_per_second: float | None = column(
        "max_per_second",
        "The largest number of retries that start per second. Null if there is no limit.",
    )
    spread_over_ms: BigInt | None = column(
        "spread_over_ms",
        "Milliseconds over which the starts of the retries are spread. Null if they are not spread.",
    )
    matched: int = column("matched", "Number of runs that the operation selected.")
    processed: int = column("processed", "Number of runs that were processed, with any result.")
    succeeded: int = column("succeeded", "Number of runs changed.")
    skipped: int = column("skipped", "Number of runs that were not eligible.")
    failed: int = column("failed", "Number of eligible runs that could not be changed.")
    created_at: datetime = column("created_at", "The instant at which the operation was requested.")
    started_at: datetime | None = column(
        "started_at", "The instant from which runs could be changed. Null for a plan that was not executed."
    )
    finished_at: datetime | None = column("finished_at", "The instant at which the operation ended. Null until then.")

    @field(
        "The project whose API keys can see the operation. Null if it concerns several projects: only operator "
        "keys can see it.",
        "project_id",
    )
    async def project(self, info: Info) -> Project | None:
        key = self.row.project_id
        if key is None:
            return None
        return Project(row=await info.context.loaders.load_existing(projects.by_ids, key, columns_of(info, Project)))

    @field("Who requested the operation.", "user_id", "key_id", "key_name")
    def requested_by(self) -> Actor:
        return actor(outcomes.requester_of(self.row).text)

    @field("The earlier operation whose runs this one selected. Null if a filter selected them.", "source_id")
    async def source(self, info: Info) -> "BulkOperation | None":
        key = self.row.source_id
        if key is None:
            return None
        row = await bulk.get(info.context, _id(key), columns_of(info, BulkOperation))
        return BulkOperation(row=row) if row else None

    @field(
        "The fields of the filter that were ignored because it has `ids`: all others except `projectIds`. Empty "
        "without `ids`. A dry run returns the same.",
        "filter",
    )
    def ignored_filter_fields(self) -> list[str]:
        return bulk.ignored_fields(json_codec.decode(self.row.filter) or {})

    @field(
        "The result of the dry run. Null if the operation did not begin with one.",
        "expires_at",
        "became_eligible",
        "became_ineligible",
    )
    def plan(self) -> BulkPlan | None:
        return BulkPlan(row=self.row) if self.row.expires_at is not None else None

    @field("Numbers of skipped and failed runs, by reason.")
    async def reasons(self, info: Info) -> list[BulkReasonCount]:
        counts = await info.context.loaders.load(bulk_reads.reasons_by_operations, self.row.id)
        return _reason_counts(counts or {})

    @field("The outcome of each run, in the order in which the runs were created.")
    async def outcomes(
        self,
        info: Info,
        result: Results = None,
        reason: Reasons = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[BulkOutcome]:
        source = bulk.OutcomeList(info.context, self.row.id, OutcomeFilter(result, reason))
        return await connect(info, BulkOutcome, source, PageArguments(first, after, last, before))


def _id(key: UUID) -> strawberry.ID:
    return strawberry.ID(ids.encode(IdKind.BULK_OPERATION, key))


async def _planned_reasons(info: Info, key: UUID) -> dict[str, int]:
    return await info.context.loaders.load(bulk_reads.planned_reasons_by_operations, key) or {}


def _reason_counts(counts: dict[str, int]) -> list[BulkReasonCount]:
    return [BulkReasonCount(reason=BulkReason(reason), count=count) for reason, count in counts.items()]
