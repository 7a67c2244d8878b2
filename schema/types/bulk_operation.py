"""Bulk operations, their plans and outcomes."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db import projects
from db.bulk.reads import OutcomeFilter
from db.runs import reads
from db.sql.rows import AnyRow
from domain import ids, json_codec
from domain.bulk import ELIGIBLE
from domain.ids import IdKind
from resolvers import bulk
from schema.enums import BulkKind, BulkReason, BulkResult, BulkStatus, RetryStrategy
from schema.fields import Info, column, columns_of, field, id_column, json_column
from schema.scalars import BigInt
from schema.types.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.types.flow_run import FlowRun
from schema.types.node import Node
from schema.types.project import Project

Results = Annotated[
    list[BulkResult] | None, strawberry.argument(description="Only outcomes with one of these results.")
]
Reasons = Annotated[
    list[BulkReason] | None, strawberry.argument(description="Only outcomes with one of these reasons.")
]


@strawberry.type(description="What became of one run in a bulk operation.")
class BulkOutcome:
    """What became of one run."""

    row: strawberry.Private[AnyRow]

    result: BulkResult = column("result", "What became of it.", convert=BulkResult)
    reason: BulkReason | None = column("reason", "Why it was skipped, or failed.", convert=BulkReason)
    at: datetime | None = column("at", "When that was.")
    due_at: datetime | None = column("due_at", "When its retry is to begin, by the pace of the operation.")

    @field("The run's ID.", "run_id")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("Why a dry run found it ineligible; null when it found it eligible, or there was none.", "planned_reason")
    def planned_reason(self) -> BulkReason | None:
        told = self.row.planned_reason
        return None if told in (None, ELIGIBLE) else BulkReason(told)

    @field("The run; null when it was removed since.", "run_id")
    async def run(self, info: Info) -> FlowRun | None:
        row = await info.context.loaders.load(reads.by_ids, self.row.run_id, columns_of(info, FlowRun))
        return FlowRun(row=row) if row else None

    @field("The run that retries it.", "new_run_id")
    async def new_run(self, info: Info) -> FlowRun | None:
        if self.row.new_run_id is None:
            return None
        row = await info.context.loaders.load(reads.by_ids, self.row.new_run_id, columns_of(info, FlowRun))
        return FlowRun(row=row) if row else None


@strawberry.type(description="How many runs of a bulk operation have the same reason.")
class BulkReasonCount:
    """How many runs have the same reason."""

    reason: BulkReason = strawberry.field(description="Why nothing was done, or would be.")
    count: int = strawberry.field(description="To how many runs.")


@strawberry.type(
    description="What a dry run found. Nothing was done; the mutation with `planId` does it, to these runs."
)
class BulkPlan:
    """What a dry run found."""

    row: strawberry.Private[AnyRow]

    plan_id: strawberry.ID = column("id", "What to give the mutation.", convert=lambda key: _id(key))
    expires_at: datetime = column("expires_at", "Until when the plan can be carried out.")
    became_eligible: int = column("became_eligible", "Runs found ineligible that something was done to all the same.")
    became_ineligible: int = column("became_ineligible", "Runs found eligible that nothing could be done to any more.")

    @field("How many runs something would be done to.")
    async def eligible(self, info: Info) -> int:
        return (await bulk.planned_reasons(info.context, self.row.id)).get(ELIGIBLE, 0)

    @field("To how many runs nothing would be done, and why.")
    async def ineligible(self, info: Info) -> list[BulkReasonCount]:
        found = await bulk.planned_reasons(info.context, self.row.id)
        return _counts({word: number for word, number in found.items() if word != ELIGIBLE})

    @field(f"The first runs, at most {bulk.SAMPLE}; `outcomes` has all.")
    async def sample(self, info: Info) -> list[BulkOutcome]:
        return [BulkOutcome(row=row) for row in await bulk.sample(info.context, self.row.id)]


@strawberry.type(
    description="Something that is done to many runs: to those that were meant when it began, in the order of their"
    " creation. It survives restarts; each run is dealt with once."
)
class BulkOperation(Node):
    """Something that is done to many runs."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.BULK_OPERATION, "The operation's ID.")
    kind: BulkKind = column("kind", "What is done.", convert=BulkKind)
    status: BulkStatus = column("status", "Where it stands.", convert=BulkStatus)
    strategy: RetryStrategy | None = column("strategy", "How retries begin.", convert=RetryStrategy)
    filter: JSON | None = json_column("filter", "Which runs are meant, as it was given.")
    excluded_ids: list[strawberry.ID] = column(
        "excluded_ids", "Runs that are left out, as they were given.", convert=json_codec.decode
    )
    requested_by: str = column("key_name", "The name of the key with which it was asked for.")
    max_per_second: float | None = column("max_per_second", "Retries that begin in a second, at most.")
    spread_over_ms: BigInt | None = column("spread_over_ms", "Milliseconds over which retries are spread.")
    matched: int = column("matched", "How many runs are meant.")
    processed: int = column("processed", "How many have an outcome.")
    succeeded: int = column("succeeded", "To how many it was done.")
    skipped: int = column("skipped", "How many were not eligible.")
    failed: int = column("failed", "For how many something went wrong.")
    created_at: datetime = column("created_at", "When it was asked for.")
    started_at: datetime | None = column("started_at", "When it began; null for a plan.")
    finished_at: datetime | None = column("finished_at", "When it ended.")

    @field("The project whose keys see it; null when it is over several: then the operator's key does.", "project_id")
    async def project(self, info: Info) -> Project | None:
        key = self.row.project_id
        if key is None:
            return None
        return Project(row=await info.context.loaders.load_existing(projects.by_ids, key, columns_of(info, Project)))

    @field("The earlier operation from which its runs were taken.", "source_id")
    async def source(self, info: Info) -> "BulkOperation | None":
        key = self.row.source_id
        if key is None:
            return None
        row = await bulk.get(info.context, _id(key), columns_of(info, BulkOperation))
        return BulkOperation(row=row) if row else None

    @field("What the dry run found, when it began with one.", "expires_at", "became_eligible", "became_ineligible")
    def plan(self) -> BulkPlan | None:
        return BulkPlan(row=self.row) if self.row.expires_at is not None else None

    @field("How many runs were skipped or failed, by the reason.")
    async def reasons(self, info: Info) -> list[BulkReasonCount]:
        return _counts(dict(await bulk.reasons(info.context, self.row.id)))

    @field("What became of each run, in the order of their creation.")
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


def _id(key: object) -> strawberry.ID:
    return strawberry.ID(ids.encode(IdKind.BULK_OPERATION, key))  # type: ignore[arg-type]


def _counts(found: dict[str, int]) -> list[BulkReasonCount]:
    return [BulkReasonCount(reason=BulkReason(word), count=number) for word, number in found.items()]
