"""Statistics over runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import strawberry

from db.runs.stats import PERCENTILES, Durations, Failure
from db.sql.rows import AnyRow
from domain.time_buckets import MAX_BUCKETS
from live.stats_feed import Statistics
from resolvers import runs, stats
from resolvers.stats import FIRST_ERRORS, FIRST_FAILURES, MAX_ERRORS, MAX_FAILURES
from schema.enums import BucketSize, RunStatus
from schema.fields import Info, column, columns_of, field
from schema.scalars import BigInt
from schema.types.flow import Flow
from schema.types.flow_run import FlowRun

Size = Annotated[BucketSize, strawberry.argument(description="How long a bucket is.")]
TimeZone = Annotated[
    str, strawberry.argument(description="The IANA time zone in which days, and hours, begin; such as `Europe/Berlin`.")
]
Since = Annotated[
    datetime | None,
    strawberry.argument(
        name="from",
        description="In the first bucket. By default the filter's `createdAfter`; without one there are 60 minutes,"
        " 24 hours, or 30 days.",
    ),
]
Until = Annotated[
    datetime | None,
    strawberry.argument(
        name="to",
        description="In the last bucket, or where it ends. By default the filter's `createdBefore`, or now.",
    ),
]
FirstFailures = Annotated[int, strawberry.argument(description=f"How many, 1 to {MAX_FAILURES}.")]
FirstErrors = Annotated[int, strawberry.argument(description=f"How many, 1 to {MAX_ERRORS}.")]


@strawberry.type(description="How many runs have a status.")
class StatusCount:
    """How many runs have a status."""

    status: RunStatus = strawberry.field(description="The status.")
    count: int = strawberry.field(description="Runs that have it.")


@strawberry.type(
    description="How long runs took from start to finish, of those that have ended. A percentile is the shortest"
    " duration of a run that so many percent of the runs did not exceed."
)
class DurationStats:
    """How long runs took."""

    found: strawberry.Private[Durations]

    @field("Runs that were started and have ended.")
    def count(self) -> int:
        return self.found.count

    @field("The shortest, in milliseconds.")
    def min_ms(self) -> BigInt:
        return BigInt(self.found.least)

    @field("The longest, in milliseconds.")
    def max_ms(self) -> BigInt:
        return BigInt(self.found.most)

    @field("The arithmetic mean, in milliseconds.")
    def mean_ms(self) -> float:
        return self.found.mean

    @field("The median, in milliseconds.")
    def p50_ms(self) -> BigInt:
        return self._percentile(50)

    @field("The 90th percentile, in milliseconds.")
    def p90_ms(self) -> BigInt:
        return self._percentile(90)

    @field("The 95th percentile, in milliseconds.")
    def p95_ms(self) -> BigInt:
        return self._percentile(95)

    @field("The 99th percentile, in milliseconds.")
    def p99_ms(self) -> BigInt:
        return self._percentile(99)

    def _percentile(self, percent: int) -> BigInt:
        return BigInt(self.found.percentiles[PERCENTILES.index(percent)])


@strawberry.type(description="The runs created in a span of time.")
class TimeBucket:
    """The runs created in a span of time."""

    start: datetime = strawberry.field(description="Where it begins.")
    end: datetime = strawberry.field(description="Where it ends, and the next one begins.")
    counts: strawberry.Private[Mapping[str, int]]

    @field("All runs created in it.")
    def total(self) -> int:
        return sum(self.counts.values())

    @field("How many of them have each status now; every status is there.")
    def by_status(self) -> list[StatusCount]:
        return _by_status(self.counts)


@strawberry.type(description="An error with which runs ended at a step.")
class StepErrorStats:
    """An error with which runs ended at a step."""

    row: strawberry.Private[AnyRow]

    fingerprint: str = column(
        "fingerprint", "The same for errors that differ in numbers, IDs and quoted values alone: a filter takes it."
    )
    count: int = column("runs", "Runs that ended with it.")
    message: str = column("message", "How the newest of these runs told it.")
    last_seen_at: datetime = column("last_at", "When one of these runs ended last.")

    @field("The newest of these runs.")
    async def sample_run(self, info: Info) -> FlowRun:
        row = await runs.by_key(info.context, self.row.run_id, columns_of(info, FlowRun))
        assert row is not None  # runs are never deleted
        return FlowRun(row=row)


@strawberry.type(description="A step at which runs failed.")
class FailingStep:
    """A step at which runs failed."""

    row: strawberry.Private[AnyRow]
    of: strawberry.Private[Statistics]
    listed: strawberry.Private[tuple[Failure, ...]]
    """The failing steps that were asked for with it, so that the errors of all are read at once."""

    step_name: str = column("step_name", "The step's name.")
    count: int = column("runs", "Runs that failed at it.")

    @field("The flow.")
    async def flow(self, info: Info) -> Flow:
        return Flow(row=await runs.flow(info.context, self.row.flow_id, columns_of(info, Flow)))

    @field("The errors with which most runs ended at the step, the most frequent first.")
    async def errors(self, first: FirstErrors = FIRST_ERRORS) -> list[StepErrorStats]:
        found = await stats.errors(self.of, self.listed, first)
        return [StepErrorStats(row=row) for row in found.get((self.row.flow_id, self.row.step_name), ())]


@strawberry.type(
    name="FlowRunStats",
    description="Statistics over the runs that a filter means. Each part is computed only when it is selected.",
)
class FlowRunStats:
    """Statistics over the runs that a filter means."""

    of: strawberry.Private[Statistics]

    @field("The instant of the statistics.")
    def at(self) -> datetime:
        return self.of.now

    @field("All runs that the filter means.")
    async def total(self) -> int:
        return sum((await stats.counts(self.of)).values())

    @field("How many of them have each status; every status is there.")
    async def by_status(self) -> list[StatusCount]:
        return _by_status(await stats.counts(self.of))

    @field("How long the runs took that have ended; null when none has.")
    async def durations(self) -> DurationStats | None:
        found = await stats.durations(self.of)
        return DurationStats(found=found) if found else None

    @field(
        "The runs by the time of their creation: whole buckets, without a gap, the earliest first; at most"
        f" {MAX_BUCKETS:,}."
    )
    async def time_buckets(
        self, size: Size = BucketSize.HOUR, since: Since = None, until: Until = None, time_zone: TimeZone = "UTC"
    ) -> list[TimeBucket]:
        edges = stats.bounds(self.of, size, since, until, time_zone)
        found = await stats.counts_by_time(self.of, edges)
        counts: list[dict[str, int]] = [{} for _ in edges[1:]]
        for (place, status), count in found.items():
            counts[place][status] = count
        spans = zip(edges, edges[1:], counts, strict=False)
        return [TimeBucket(start=start, end=end, counts=of_bucket) for start, end, of_bucket in spans]

    @field("The steps at which most runs failed, the most first.")
    async def top_failing_steps(self, first: FirstFailures = FIRST_FAILURES) -> list[FailingStep]:
        rows = await stats.failures(self.of, first)
        listed = tuple((row.flow_id, row.step_name) for row in rows)
        return [FailingStep(row=row, of=self.of, listed=listed) for row in rows]


def _by_status(counts: Mapping[str, int]) -> list[StatusCount]:
    return [StatusCount(status=status, count=counts.get(status, 0)) for status in RunStatus]
