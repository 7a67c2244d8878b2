"""Statistics over runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Annotated
from uuid import UUID

import strawberry

from db import flows
from db.runs import reads
from db.runs.statistics import groups, stats
from db.runs.statistics.groups import FailureGroup as FailureGroupRow
from db.runs.statistics.groups import GroupCounts
from db.runs.statistics.stats import EXACT_DURATIONS, PERCENTILES, Durations, Failure, StepErrorCount
from db.runs.statistics.stats import FailingStep as FailingStepRow
from domain import ids
from domain.ids import IdKind
from domain.time.time_buckets import MAX_BUCKETS
from live.stats_feed import Statistics
from resolvers.flow_runs.stats import (
    DEFAULT_ERRORS,
    DEFAULT_FAILING_STEPS,
    DEFAULT_GROUPS,
    MAX_ERRORS,
    MAX_FAILING_STEPS,
    MAX_GROUPS,
    bucket_bounds,
    checked_size,
)
from schema.enums import BucketSize, RunGroup, RunStatus
from schema.fields import Info, column, columns_of, field
from schema.scalars import BigInt
from schema.types.column_list import ColumnList, Fields, Values, integers, whole_seconds
from schema.types.flow import Flow, FlowVersion
from schema.types.flow_run import FlowRun

_KEPT_COUNTS = 5_000
"""Counts of a status that are kept, of those requested last."""
Size = Annotated[BucketSize, strawberry.argument(description="The length of a bucket. Default: an hour.")]
TimeZone = Annotated[
    str,
    strawberry.argument(
        description="The IANA time zone in which days and hours begin, such as `Europe/Berlin`. Default: UTC."
    ),
]
Since = Annotated[
    datetime | None,
    strawberry.argument(
        name="from",
        description="An instant in the first bucket. Default: the filter's `createdAfter`; without one there are 60 "
        "buckets of a minute, 24 of an hour or 30 of a day.",
    ),
]
Until = Annotated[
    datetime | None,
    strawberry.argument(
        name="to",
        description="An instant in the last bucket, or its end. Default: the filter's `createdBefore`, or now.",
    ),
]
FirstFailingSteps = Annotated[int, strawberry.argument(description=f"The number of steps, 1 to {MAX_FAILING_STEPS}.")]
FirstGroups = Annotated[int, strawberry.argument(description=f"The number of groups, 1 to {MAX_GROUPS}.")]
By = Annotated[RunGroup, strawberry.argument(description="The value by which runs are grouped.")]
FirstErrors = Annotated[int, strawberry.argument(description=f"The number of errors, 1 to {MAX_ERRORS}.")]


@strawberry.type(description="The number of runs with a status.")
class StatusCount:
    """The number of runs with a status."""

    status: RunStatus = strawberry.field(description="The status.")
    count: int = strawberry.field(description="Number of runs with this status.")


@strawberry.type(
    description="Durations, from start to finish, of the runs that have ended. The p-th percentile is the shortest "
    f"duration that at least p percent of the runs did not exceed. Exact below {EXACT_DURATIONS:,} runs. "
    "From there on, where kept counts answer the filter, shortest and longest duration and percentiles "
    "differ by at most 1 %; number and mean stay exact."
)
class DurationStats:
    """Durations of runs."""

    durations: strawberry.Private[Durations]

    @field("Number of runs that were started and have ended.")
    def count(self) -> int:
        return self.durations.count

    @field("The shortest duration, in milliseconds.")
    def min_ms(self) -> BigInt:
        return BigInt(self.durations.min)

    @field("The longest duration, in milliseconds.")
    def max_ms(self) -> BigInt:
        return BigInt(self.durations.max)

    @field("The arithmetic mean, in milliseconds.")
    def mean_ms(self) -> float:
        return self.durations.mean

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
        return BigInt(self.durations.percentiles[PERCENTILES.index(percent)])


@strawberry.type(description="Counts of the runs created in a span of time.")
class TimeBucket:
    """Counts of the runs created in a span of time."""

    start: datetime = strawberry.field(description="The start of the bucket (inclusive).")
    end: datetime = strawberry.field(description="The end of the bucket (exclusive), at which the next one begins.")
    counts: strawberry.Private[tuple[int, ...]]
    """The number of runs with each status, in the order of RunStatus."""

    @field("Number of runs created in the bucket.")
    def total(self) -> int:
        return sum(self.counts)

    @field("Number of these runs with each status now. Every status is listed, with 0 if no run has it.")
    def by_status(self) -> list[StatusCount]:
        return list(map(_status_count, RunStatus, self.counts))


@strawberry.type(description="An error with which runs failed at a step.")
class StepErrorStats:
    """An error with which runs failed at a step."""

    row: strawberry.Private[StepErrorCount]

    fingerprint: str = column(
        "fingerprint",
        "Identifies similar errors: equal if messages differ only in numbers, IDs and quoted values. Use it in "
        "the filter `errorFingerprint`.",
    )
    count: int = column("runs", "Number of runs that failed with the error.")
    message: str = column("message", "The error message of the newest of these runs.")
    last_seen_at: datetime = column("last_at", "The latest finish time of these runs.")

    @field("The newest of these runs.")
    async def sample_run(self, info: Info) -> FlowRun:
        columns = columns_of(info, FlowRun)
        return FlowRun(row=await info.context.loaders.load_existing(reads.by_ids, self.row.run_id, columns))


@strawberry.type(description="A step at which runs failed.")
class FailingStep:
    """A step at which runs failed."""

    row: strawberry.Private[FailingStepRow]
    statistics: strawberry.Private[Statistics]
    siblings: strawberry.Private[tuple[Failure, ...]]
    """All failing steps of the list. Their errors are read by one statement."""

    step_name: str = column("step_name", "The step's name.")
    count: int = column("runs", "Number of runs that failed at the step.")

    @field("The flow of the step.")
    async def flow(self, info: Info) -> Flow:
        columns = columns_of(info, Flow)
        return Flow(row=await info.context.loaders.load_existing(flows.by_ids, self.row.flow_id, columns))

    @field("The errors of the step with the most runs, the most frequent first.")
    async def errors(self, first: FirstErrors = DEFAULT_ERRORS) -> list[StepErrorStats]:
        limit = checked_size("first", first, MAX_ERRORS)
        errors = await self.statistics.part(stats.errors_by_failures, self.siblings, limit)
        return [StepErrorStats(row=row) for row in errors.get((self.row.flow_id, self.row.step_name), ())]


@strawberry.type(description="The runs of one group.")
class FlowRunGroupStats:
    """The runs of one group."""

    by: strawberry.Private[RunGroup]
    row: strawberry.Private[GroupCounts]

    @field("The value that the runs share: the ID of a flow or a version, a trigger method, a tag or a fingerprint.")
    def key(self) -> str:
        prefix = {RunGroup.FLOW: IdKind.FLOW, RunGroup.VERSION: IdKind.FLOW_VERSION}.get(self.by)
        return str(self.row.key) if prefix is None else ids.encode(prefix, self.row.key)

    @field("Number of runs in the group.")
    def total(self) -> int:
        return self.row.total

    @field("Number of runs with each status. Every status is listed, with 0 if no run has it.")
    def by_status(self) -> list[StatusCount]:
        return _by_status(self.row.by_status)

    @field("The flow; null unless the runs are grouped by FLOW.")
    async def flow(self, info: Info) -> Flow | None:
        if self.by is not RunGroup.FLOW:
            return None
        return Flow(row=await info.context.loaders.load_existing(flows.by_ids, self.row.key, columns_of(info, Flow)))

    @field("The flow version; null unless the runs are grouped by VERSION.")
    async def flow_version(self, info: Info) -> FlowVersion | None:
        if self.by is not RunGroup.VERSION:
            return None
        columns = columns_of(info, FlowVersion)
        return FlowVersion(row=await info.context.loaders.load_existing(flows.versions_by_ids, self.row.key, columns))


@strawberry.type(description="The number of runs of a flow.")
class FlowCount:
    """The number of runs of a flow."""

    flow_id: strawberry.Private[UUID]

    count: int = strawberry.field(description="Number of runs.")

    @field("The flow.")
    async def flow(self, info: Info) -> Flow:
        return Flow(row=await info.context.loaders.load_existing(flows.by_ids, self.flow_id, columns_of(info, Flow)))


@strawberry.type(description="The number of runs created in a span of time.")
class TimeCount:
    """The number of runs created in a span of time."""

    start: datetime = strawberry.field(description="The start of the span (inclusive).")
    end: datetime = strawberry.field(description="The end of the span (exclusive).")
    count: int = strawberry.field(description="Number of runs.")


@strawberry.type(description="The runs that failed with one error.")
class FailureGroup:
    """The runs that failed with one error."""

    row: strawberry.Private[FailureGroupRow]
    statistics: strawberry.Private[Statistics]
    siblings: strawberry.Private[tuple[str, ...]]
    """The fingerprints of the list. Their flows and their series are read by one statement each."""

    fingerprint: str = column(
        "fingerprint",
        "Identifies similar errors: equal if messages differ only in numbers, IDs and quoted values. Use it in "
        "the filter `errorFingerprint`.",
    )
    count: int = column("runs", "Number of runs that failed with the error.")
    unrecovered: int = column("unrecovered", "Number of these runs without a successful retry.")
    code: str = column("code", "The code of the error.")
    message: str = column("message", "The error message of the newest of these runs.")
    step_name: str | None = column(
        "step_name", "The step at which the newest run failed; null if it failed outside of a step."
    )
    last_seen_at: datetime = column("last_at", "The latest finish time of these runs.")
    first_seen_at: datetime = column(
        "first_at",
        "The finish time of the project's oldest run with this error, whether that run matches the filter or "
        "not: it shows whether the error is new.",
    )

    @field("The newest of these runs.")
    async def sample_run(self, info: Info) -> FlowRun:
        columns = columns_of(info, FlowRun)
        return FlowRun(row=await info.context.loaders.load_existing(reads.by_ids, self.row.run_id, columns))

    @field("The flows whose runs failed with the error, the most affected first.")
    async def flows(self) -> list[FlowCount]:
        found = await self.statistics.part(groups.flows_by_failures, self.siblings)
        return [FlowCount(flow_id=key, count=count) for key, count in found.get(self.row.fingerprint, ())]

    @field(
        "Number of these runs by the time of their creation, in whole buckets without gaps, the earliest first. At most"
        f" {MAX_BUCKETS:,} buckets."
    )
    async def series(
        self, size: Size = BucketSize.HOUR, since: Since = None, until: Until = None, time_zone: TimeZone = "UTC"
    ) -> Sequence[TimeCount]:
        bounds = bucket_bounds(self.statistics, size, since, until, time_zone, name="series")
        found = await self.statistics.part(groups.failures_by_time, self.siblings, bounds)
        counts = _filled(found.get(self.row.fingerprint, {}), len(bounds) - 1)

        def item(index: int) -> TimeCount:
            return TimeCount(start=bounds[index], end=bounds[index + 1], count=counts[index])

        return ColumnList(len(counts), item, {**_spans(bounds), "count": lambda: integers(counts)})


@strawberry.type(
    name="FlowRunStats",
    description="Statistics over the runs that match a filter. Each part is computed only if it is selected.",
)
class FlowRunStats:
    """Statistics over the runs that match a filter."""

    statistics: strawberry.Private[Statistics]

    @field("The instant of the statistics: live runs are counted as of then.")
    def at(self) -> datetime:
        return self.statistics.now

    @field("Number of runs that match the filter.")
    async def total(self) -> int:
        return sum((await self.statistics.part(stats.counts)).values())

    @field("Number of runs with each status. Every status is listed, with 0 if no run has it.")
    async def by_status(self) -> list[StatusCount]:
        return _by_status(await self.statistics.part(stats.counts))

    @field("Durations of the runs that have ended; null if none has.")
    async def durations(self) -> DurationStats | None:
        durations = await self.statistics.part(stats.durations)
        return DurationStats(durations=durations) if durations else None

    @field(
        "The runs by the time of their creation, in whole buckets without gaps, the earliest first. At most"
        f" {MAX_BUCKETS:,} buckets."
    )
    async def time_buckets(
        self, size: Size = BucketSize.HOUR, since: Since = None, until: Until = None, time_zone: TimeZone = "UTC"
    ) -> Sequence[TimeBucket]:
        bounds = bucket_bounds(self.statistics, size, since, until, time_zone)
        counted = await self.statistics.part(stats.counts_by_time, bounds)
        return _time_buckets(bounds, counted)

    @field("The steps at which most runs failed, in descending order of the number.")
    async def top_failing_steps(self, first: FirstFailingSteps = DEFAULT_FAILING_STEPS) -> list[FailingStep]:
        rows = await self.statistics.part(stats.failures, checked_size("first", first, MAX_FAILING_STEPS))
        siblings = tuple((row.flow_id, row.step_name) for row in rows)
        return [FailingStep(row=row, statistics=self.statistics, siblings=siblings) for row in rows]

    @field(
        "The runs in groups, the largest group first. With TAG a run counts once for each of its tags. Runs "
        "without a tag, or without an error, are in no group."
    )
    async def group_by(self, by: By, first: FirstGroups = DEFAULT_GROUPS) -> list[FlowRunGroupStats]:
        rows = await self.statistics.part(groups.counts, by, checked_size("first", first, MAX_GROUPS))
        return [FlowRunGroupStats(by=by, row=row) for row in rows]

    @field("The errors with which most runs failed, by fingerprint, the most frequent first.")
    async def failures(self, first: FirstGroups = DEFAULT_GROUPS) -> list[FailureGroup]:
        rows = await self.statistics.part(groups.failures, checked_size("first", first, MAX_GROUPS))
        siblings = tuple(row.fingerprint for row in rows)
        return [FailureGroup(row=row, statistics=self.statistics, siblings=siblings) for row in rows]


def _time_buckets(bounds: Sequence[datetime], counted: Mapping[str, Mapping[int, int]]) -> Sequence[TimeBucket]:
    number = len(bounds) - 1
    by_status = {status: _filled(counted[status], number) for status in RunStatus if status in counted}
    none = [0] * number

    def item(index: int) -> TimeBucket:
        counts = tuple(by_status.get(status, none)[index] for status in RunStatus)
        return TimeBucket(start=bounds[index], end=bounds[index + 1], counts=counts)

    def totals() -> Sequence[int]:
        return integers(list(map(sum, zip(none, *by_status.values(), strict=True))))

    def count(status: RunStatus) -> str | Values:
        return (lambda: integers(by_status[status])) if status in by_status else "0"

    of_statuses = [{"status": f'"{status.name}"', "count": count(status)} for status in RunStatus]
    return ColumnList(number, item, {**_spans(bounds), "total": totals, "byStatus": of_statuses})


def _filled(counts: Mapping[int, int], number: int) -> list[int]:
    """Returns the counts of all buckets, of which `counts` has those that are not 0."""
    return list(map(counts.get, range(number), repeat(0)))


def _spans(bounds: Sequence[datetime]) -> Fields:
    return {"start": lambda: whole_seconds(bounds[:-1]), "end": lambda: whole_seconds(bounds[1:])}


def _by_status(counts: Mapping[str, int]) -> list[StatusCount]:
    return [_status_count(status, counts.get(status, 0)) for status in RunStatus]


@lru_cache(_KEPT_COUNTS)
def _status_count(status: RunStatus, count: int) -> StatusCount:
    # A chart has thousands of them, and most are equal.
    return StatusCount(status=status, count=count)
