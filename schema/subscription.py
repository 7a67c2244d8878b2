"""The root of subscriptions."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from enum import Enum
from typing import Annotated, Any, TypeVar, cast

import strawberry

from db.events.log import LOG_LINES, RUN_ARCHIVED, RUN_RECOVERED, RUN_STATUS, RUN_UNARCHIVED, STEP_STATUS
from db.runs import reads
from db.sql.rows import AnyRow
from domain import ids, json_codec
from domain.ids import IdKind
from live.hub import Item, MatchedEvent
from live.stats_feed import Statistics
from resolvers import bulk, progress, runs, stats, subscriptions
from schema.enums import BulkStatus, RunStatus
from schema.fields import Info, columns_of, field
from schema.inputs.filters import FlowRunFilter
from schema.types.bulk_operation import BulkOperation
from schema.types.flow_run import FlowRun, StatusChange
from schema.types.progress import LogLinesAppended, StepChanged
from schema.types.stats import FlowRunStats

F = TypeVar("F", bound=Callable[..., Any])

_MATCHES = (
    "Whether the filter means the run after the change. False: it does not, but it did before the change, or may have"
    " done; so a list of the runs that the filter means drops it."
)


@strawberry.enum(name="FlowRunUpdateKind", description="How a run changed, beside its status.")
class UpdateKind(Enum):
    """How a run changed, beside its status."""

    ARCHIVED = strawberry.enum_value(RUN_ARCHIVED, description="The run was archived.")
    UNARCHIVED = strawberry.enum_value(RUN_UNARCHIVED, description="The run is archived no more.")
    RECOVERED = strawberry.enum_value(
        RUN_RECOVERED, description="A retry of the run, direct or later in the chain, succeeded."
    )


@strawberry.type(description="A run changed its status.")
class FlowRunStatusChanged:
    """A run changed its status."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description="Where the change stands in the log: as `after` it goes on from here.")
    matches: bool = strawberry.field(description=_MATCHES)

    @field("The run's ID.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The status now.")
    def status(self) -> RunStatus:
        return RunStatus(self.row.to_status)

    @field("The change.")
    def change(self) -> StatusChange:
        return StatusChange(row=self.row)

    @field("The run as it is when this is told, which may be further on than the change.")
    async def run(self, info: Info) -> FlowRun:
        return await _run(info, self.row)


@strawberry.type(description="A run changed in another way than its status.")
class FlowRunUpdated:
    """A run changed in another way than its status."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description="Where the change stands in the log: as `after` it goes on from here.")
    matches: bool = strawberry.field(description=_MATCHES)

    @field("The run's ID.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("How it changed.")
    def kind(self) -> UpdateKind:
        return UpdateKind(self.row.kind)

    @field("The run as it is when this is told, which may be further on than the change.")
    async def run(self, info: Info) -> FlowRun:
        return await _run(info, self.row)


async def _run(info: Info, event: AnyRow) -> FlowRun:
    columns = columns_of(info, FlowRun)
    return FlowRun(row=await info.context.loaders.load_existing(reads.by_ids, event.run_id, columns))


@strawberry.type(description="All that was missed has been told; what follows happens from now on.")
class CaughtUp:
    """All that was missed has been told."""

    cursor: str = strawberry.field(description="The end of the log: give it as `after` to go on from here.")


@strawberry.type(description="How far a bulk operation had come.")
class BulkCounts:
    """How far a bulk operation had come."""

    status: BulkStatus = strawberry.field(description="Where it stood.")
    matched: int = strawberry.field(description="How many runs are meant.")
    processed: int = strawberry.field(description="How many had an outcome.")
    succeeded: int = strawberry.field(description="To how many it was done.")
    skipped: int = strawberry.field(description="How many were not eligible.")
    failed: int = strawberry.field(description="For how many something went wrong.")


@strawberry.type(description="A bulk operation began, went on or ended.")
class BulkOperationProgressed:
    """A bulk operation began, went on or ended."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description="Where this stands in the log: as `after` it goes on from here.")

    @field("The operation's ID.")
    def operation_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.BULK_OPERATION, self.row.operation_id))

    @field("How far it had come.")
    def counts(self) -> BulkCounts:
        told = json_codec.decode(self.row.data)
        return BulkCounts(**{**told, "status": BulkStatus(told["status"])})

    @field("The operation as it is when this is told, which may be further on.")
    async def operation(self, info: Info) -> BulkOperation:
        columns = columns_of(info, BulkOperation)
        return BulkOperation(row=await bulk.get_fresh(info.context, self.row.operation_id, columns))


FlowRunStatusEvent = Annotated[
    FlowRunStatusChanged | FlowRunUpdated | CaughtUp,
    strawberry.union(
        "FlowRunStatusEvent", description="A change, or the mark between what was missed and what happens."
    ),
]


def _told(item: Item) -> FlowRunStatusChanged | FlowRunUpdated | CaughtUp:
    cursor = subscriptions.cursor_of(item)
    if not isinstance(item, MatchedEvent):
        return CaughtUp(cursor=cursor)
    row = item.event.row
    told_as = FlowRunStatusChanged if row.kind == RUN_STATUS else FlowRunUpdated
    return told_as(row=row, cursor=cursor, matches=item.matches)


FlowRunProgress = FlowRunStatusChanged | StepChanged | LogLinesAppended | CaughtUp
FlowRunProgressEvent = Annotated[
    FlowRunProgress,
    strawberry.union(
        "FlowRunProgressEvent", description="A change in a run, or the mark between what was missed and what happens."
    ),
]


def _told_of_run(item: Item) -> FlowRunProgress:
    cursor = subscriptions.cursor_of(item)
    if not isinstance(item, MatchedEvent):
        return CaughtUp(cursor=cursor)
    row = item.event.row
    if row.kind == STEP_STATUS:
        return StepChanged(row=row, cursor=cursor)
    if row.kind == LOG_LINES:
        return LogLinesAppended(row=row, cursor=cursor)
    return FlowRunStatusChanged(row=row, cursor=cursor, matches=item.matches)


async def _told_of_stats(changes: AsyncGenerator[Statistics, None]) -> AsyncGenerator[FlowRunStats, None]:
    async with aclosing(changes):
        async for statistics in changes:
            yield FlowRunStats(statistics=statistics)


def _subscription(description: str) -> Callable[[F], F]:
    return cast("Callable[[F], F]", strawberry.subscription(description=description))


@strawberry.type(description="Streams.")
class Subscription:
    """The root of subscriptions."""

    @_subscription(
        "Changes of the runs that the filter means after the change, or meant before it, or may have meant: `matches`"
        " tells which. In the order of the log. With `after`, first those since that cursor; then `CaughtUp`, then what"
        " happens. A subscriber that is too slow gets the error SLOW_CONSUMER, with the cursor to go on from."
    )
    def flow_run_status_changed(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002
            FlowRunFilter | None, strawberry.argument(description="Which runs are meant; left out, all.")
        ] = None,
        after: Annotated[
            str | None, strawberry.argument(description="A cursor told before: what came since then comes first.")
        ] = None,
    ) -> AsyncIterator[FlowRunStatusEvent]:
        wanted = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return subscriptions.run_changes(info.context, wanted, after, _told)

    @_subscription(
        "What happens in one run, in the order of the log: changes of its status and of its steps', and lines of its"
        " log. With `after`, first what happened since that cursor; then `CaughtUp`, then what happens. Completes when"
        " the run's end was told, or was before: its steps and lines come first. Steps that a retry keeps did not"
        " happen in it: they are `FlowRun.steps` from its beginning. A run that there is not, or that the key does not"
        " see, is the error RUN_NOT_FOUND."
    )
    async def flow_run_progressed(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, strawberry.argument(description="The run's ID.")],
        after: Annotated[
            str | None, strawberry.argument(description="A cursor told before: what came since then comes first.")
        ] = None,
    ) -> AsyncIterator[FlowRunProgressEvent]:
        return await progress.of_run(info.context, run_id, after, _told_of_run)

    @_subscription(
        "Statistics over runs: at the start, and again when one of the runs changed, or one that was among them; at"
        " most once a second."
    )
    def flow_run_stats_changed(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002
            FlowRunFilter | None, strawberry.argument(description="Which runs are meant; left out, all.")
        ] = None,
    ) -> AsyncIterator[FlowRunStats]:
        wanted = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return _told_of_stats(stats.changing(info.context, wanted))

    @_subscription(
        "How a bulk operation goes on: how it stands, then each step, until it has ended. With `after`, what came since"
        " that cursor."
    )
    async def bulk_operation_progressed(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The operation.")],  # noqa: A002
        after: Annotated[
            str | None, strawberry.argument(description="A cursor told before: what came since then comes first.")
        ] = None,
    ) -> AsyncGenerator[BulkOperationProgressed, None]:
        async with aclosing(subscriptions.bulk_progress(info.context, id, after)) as progress:
            async for told in progress:
                yield BulkOperationProgressed(row=told.event.row, cursor=subscriptions.cursor_of(told))
