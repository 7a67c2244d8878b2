"""The root type of subscriptions, and the events that they deliver."""

from collections.abc import AsyncIterable, Callable
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, TypeVar, cast

import strawberry

from db.bulk import reads as bulk_reads
from db.events.log import (
    LOG_LINES,
    RUN_ARCHIVED,
    RUN_CHANGED,
    RUN_DELETED,
    RUN_ERASED,
    RUN_RECOVERED,
    RUN_STATUS,
    RUN_UNARCHIVED,
    STEP_STATUS,
)
from db.runs import reads
from db.runs.waits import inbox, input_requests
from domain import ids, json_codec
from domain.ids import IdKind
from live.events import EventOfKind, LogItem, MatchedEvent
from resolvers import inbox as resolved_inbox
from resolvers import subscriptions
from resolvers.flow_runs import runs
from resolvers.subscriptions import encode_position
from schema.enums import BulkStatus, InputRequestStatus, RunStatus
from schema.fields import Info, column, columns_of, field
from schema.inputs.filters import FlowRunFilter
from schema.inputs.input_requests import InputRequestFilter
from schema.queries.inbox import RequestsFilter
from schema.types.bulk_operation import BulkOperation
from schema.types.flow_run import FlowRun, StatusChange
from schema.types.input_request import InputRequest
from schema.types.runs.progress import CURSOR, LogLinesAppended, StepChanged
from schema.types.stats import FlowRunStats

F = TypeVar("F", bound=Callable[..., Any])


@strawberry.enum(name="FlowRunUpdateKind", description="A change of a run that is not a change of its status.")
class UpdateKind(Enum):
    """A change of a run that is not a change of its status."""

    ARCHIVED = strawberry.enum_value(RUN_ARCHIVED, description="The run was archived.")
    UNARCHIVED = strawberry.enum_value(RUN_UNARCHIVED, description="The run was unarchived.")
    RECOVERED = strawberry.enum_value(
        RUN_RECOVERED, description="A retry of the run succeeded: a direct one, or a retry of a retry."
    )
    CHANGED = strawberry.enum_value(RUN_CHANGED, description="Tags, metadata, the note or the summary were changed.")
    ERASED = strawberry.enum_value(RUN_ERASED, description="The payloads of the run were erased.")


@strawberry.type
class _RunEvent:
    """The fields that all events about a run share. Not a type of the schema."""

    row: strawberry.Private[EventOfKind]

    cursor: str = strawberry.field(description=CURSOR)
    matches: bool = strawberry.field(
        description="True if the run matches the filter after the change. False if it matched, or may have matched, "
        "only before the change: remove it from a list of matching runs. Always true in "
        "`flowRunProgressed`."
    )

    @field("ID of the run.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The run as it is when the event is delivered, which may be later than the change.")
    async def run(self, info: Info) -> FlowRun:
        columns = columns_of(info, FlowRun)
        return FlowRun(row=await info.context.loaders.load_existing(reads.by_ids, self.row.run_id, columns))


@strawberry.type(description="A run was created, or its status changed.")
class FlowRunStatusChanged(_RunEvent):
    """A run was created, or its status changed."""

    @field("Status of the run after the change.")
    def status(self) -> RunStatus:
        return RunStatus(self.row.to_status)

    @field("The change.")
    def change(self) -> StatusChange:
        return StatusChange(row=self.row)


@strawberry.type(
    description="A run changed in another way than its status: it was archived, unarchived, recovered or erased, or "
    "its tags, metadata or note were changed."
)
class FlowRunUpdated(_RunEvent):
    """A run changed in another way than its status."""

    @field("What changed.")
    def kind(self) -> UpdateKind:
        return UpdateKind(self.row.kind)


@strawberry.type(
    description="A run was deleted. Remove it from lists: `matches` is always false. Subscribers with any filter"
    " receive it, because what the run was can no longer be told; those with access tokens do not."
)
class FlowRunDeleted:
    """A run was deleted."""

    row: strawberry.Private[EventOfKind]

    cursor: str = strawberry.field(description=CURSOR)
    matches: bool = strawberry.field(description="False: a deleted run matches no filter.")
    at: datetime = column("at", "Time of the deletion.")

    @field("ID of the run.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))


@strawberry.type(
    description="Replay is complete; all further events are live. Delivered once, also without `after`: list what the"
    " subscription is about after this event, and no change is missed."
)
class CaughtUp:
    """Replay is complete; all further events are live."""

    cursor: str = strawberry.field(
        description="Position in the event log up to which every event was delivered. Pass it as `after` to resume from"
        " here."
    )


@strawberry.type(description="Progress of a bulk operation at this point.")
class BulkCounts:
    """Progress of a bulk operation at this point."""

    status: BulkStatus = strawberry.field(description="Status of the operation.")
    matched: int = strawberry.field(description="Number of runs that the operation selected.")
    processed: int = strawberry.field(description="Number of runs that have an outcome.")
    succeeded: int = strawberry.field(description="Number of runs changed.")
    skipped: int = strawberry.field(description="Number of runs that were not eligible.")
    failed: int = strawberry.field(description="Number of runs that could not be changed because of an error.")


@strawberry.type(description="A bulk operation began, processed more of its runs, or ended.")
class BulkOperationProgressed:
    """A bulk operation began, processed more of its runs, or ended."""

    row: strawberry.Private[EventOfKind]

    cursor: str = strawberry.field(description=CURSOR)

    @field("ID of the operation.")
    def operation_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.BULK_OPERATION, self.row.operation_id))

    @field("Status and counts of the operation after this event.")
    def counts(self) -> BulkCounts:
        counts = json_codec.decode(self.row.data)
        return BulkCounts(**{**counts, "status": BulkStatus(counts["status"])})

    @field("The operation as it is when the event is delivered, which may be later than the event.")
    async def operation(self, info: Info) -> BulkOperation:
        columns = columns_of(info, BulkOperation)
        return BulkOperation(
            row=await info.context.loaders.load_existing(bulk_reads.by_ids, self.row.operation_id, columns)
        )


@strawberry.type(description="An input request was created, answered, cancelled, or has expired.")
class InputRequestChanged:
    """An input request was created, answered, cancelled, or has expired."""

    row: strawberry.Private[EventOfKind]

    cursor: str = strawberry.field(description=CURSOR)
    matches: bool = strawberry.field(
        description="True if the request matches the filter after the change. False if it matched only before: "
        "remove it from a list of matching requests."
    )
    # Not `status`: the `status` of a run has another type, and one selection could not contain both.
    request_status: InputRequestStatus = column("to_status", "Status after the change.", convert=InputRequestStatus)
    at: datetime = column("at", "Time of the change.")

    @field("ID of the request.")
    def request_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.INPUT_REQUEST, input_requests.asked(self.row).id))

    @field("ID of the run.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field(
        "The request as it is when the event is delivered, which may be later than the change. Null if it was deleted"
        " by retention."
    )
    async def request(self, info: Info) -> InputRequest | None:
        key = input_requests.asked(self.row).id
        row = await info.context.loaders.load(inbox.by_ids, key, columns_of(info, InputRequest))
        return InputRequest(row=row) if row is not None else None


RunEvent = FlowRunStatusChanged | FlowRunUpdated | FlowRunDeleted | CaughtUp
FlowRunStatusEvent = Annotated[
    RunEvent,
    strawberry.union(
        "FlowRunStatusEvent", description="A change of a run, or the mark between replayed and live events."
    ),
]
ProgressEvent = FlowRunStatusChanged | StepChanged | LogLinesAppended | CaughtUp
FlowRunProgressEvent = Annotated[
    ProgressEvent,
    strawberry.union(
        "FlowRunProgressEvent", description="An event in one run, or the mark between replayed and live events."
    ),
]


RequestEvent = InputRequestChanged | CaughtUp
InputRequestEvent = Annotated[
    RequestEvent,
    strawberry.union(
        "InputRequestEvent",
        description="A change of an input request, or the mark between replayed and live events.",
    ),
]


def request_event(item: LogItem) -> RequestEvent:
    """Returns the object of `inputRequestsChanged` for an item."""
    cursor = encode_position(item.position)
    if not isinstance(item, MatchedEvent):
        return CaughtUp(cursor=cursor)
    return InputRequestChanged(row=item.row, cursor=cursor, matches=item.matches)


def run_event(item: LogItem) -> RunEvent:
    """Returns the object of `flowRunStatusChanged` for an item."""
    cursor = encode_position(item.position)
    if not isinstance(item, MatchedEvent):
        return CaughtUp(cursor=cursor)
    if item.row.kind == RUN_DELETED:
        return FlowRunDeleted(row=item.row, cursor=cursor, matches=item.matches)
    type_ = FlowRunStatusChanged if item.row.kind == RUN_STATUS else FlowRunUpdated
    return type_(row=item.row, cursor=cursor, matches=item.matches)


def progress_event(item: LogItem) -> ProgressEvent:
    """Returns the object of `flowRunProgressed` for an item."""
    cursor = encode_position(item.position)
    if not isinstance(item, MatchedEvent):
        return CaughtUp(cursor=cursor)
    if item.row.kind == STEP_STATUS:
        return StepChanged(row=item.row, cursor=cursor)
    if item.row.kind == LOG_LINES:
        return LogLinesAppended(row=item.row, cursor=cursor)
    return FlowRunStatusChanged(row=item.row, cursor=cursor, matches=item.matches)


def bulk_event(item: LogItem) -> BulkOperationProgressed:
    """Returns the object of `bulkOperationProgressed` for an item; its topic has no `CaughtUp`."""
    assert isinstance(item, MatchedEvent)
    return BulkOperationProgressed(row=item.row, cursor=encode_position(item.position))


Filter = Annotated[
    FlowRunFilter | None, strawberry.argument(description="The runs to watch. Default: all runs that the key can see.")
]
After = Annotated[
    str | None,
    strawberry.argument(
        description="Cursor of a received event: later events are replayed first. Default: no replay. Fails with "
        "CURSOR_EXPIRED if retention has deleted later events."
    ),
]


def _subscription(description: str) -> Callable[[F], F]:
    return cast("Callable[[F], F]", strawberry.subscription(description=description))


@strawberry.type(
    description="Streams of events, over WebSockets (graphql-transport-ws) or server-sent events. Subscribers that are"
    " too slow get the error SLOW_CONSUMER, with the cursor to resume from in its extensions."
)
class Subscription:
    """Streams of events."""

    @_subscription(
        "Changes of runs that match the filter after the change, or matched, or may have matched, before it: "
        "see `matches`. Events are delivered in the order of the event log, each once: with `after`, first the "
        "changes since that cursor; then `CaughtUp`; then live changes."
    )
    async def flow_run_status_changed(
        self,
        info: Info,
        filter: Filter = None,  # noqa: A002
        after: After = None,
    ) -> AsyncIterable[FlowRunStatusEvent]:
        run_filter = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return await subscriptions.run_changes(info.context, run_filter, after, run_event)

    @_subscription(
        "Changes of the input requests that match the filter after the change, or matched before it: see "
        "`matches`. Events are delivered in the order of the event log, each once: with `after`, first the "
        "changes since that cursor; then `CaughtUp`; then live changes."
    )
    def input_requests_changed(
        self,
        info: Info,
        filter: RequestsFilter = None,  # noqa: A002
        after: After = None,
    ) -> AsyncIterable[InputRequestEvent]:
        where = resolved_inbox.scoped(info.context, (filter or InputRequestFilter()).to_domain())
        return subscriptions.input_request_changes(info.context, where, after, request_event)

    @_subscription(
        "Events in one run, in the order of the event log: changes of its status and of its steps' statuses, "
        "and lines of its log. With `after`, first the events since that cursor; then `CaughtUp`; then live "
        "events. The stream completes after the run's end, which all events of its steps and log precede. For a "
        "run that has ended before, it completes after `CaughtUp`. Steps that a retry reuses have no events; "
        "they are in `FlowRun.steps` from the start. Fails with RUN_NOT_FOUND if the run does not exist or the "
        "key cannot see it."
    )
    async def flow_run_progressed(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, strawberry.argument(description="ID of the run.")],
        after: After = None,
    ) -> AsyncIterable[FlowRunProgressEvent]:
        return await subscriptions.run_progress(info.context, run_id, after, progress_event)

    @_subscription(
        "Statistics over runs: delivered at the start, and again after a run that matches or matched the filter "
        "changed. At most once a second."
    )
    async def flow_run_stats_changed(
        self,
        info: Info,
        filter: Filter = None,  # noqa: A002
    ) -> AsyncIterable[FlowRunStats]:
        run_filter = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return await subscriptions.stats_changes(
            info.context, run_filter, lambda statistics: FlowRunStats(statistics=statistics)
        )

    @_subscription(
        "Progress of a bulk operation: its present state first, then each step of progress; the stream "
        "completes when the operation has ended. With `after`, only the progress since that cursor. Fails with "
        "BULK_OPERATION_NOT_FOUND if the operation does not exist or the key cannot see it."
    )
    async def bulk_operation_progressed(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="ID of the operation.")],  # noqa: A002
        after: After = None,
    ) -> AsyncIterable[BulkOperationProgressed]:
        return await subscriptions.bulk_progress(info.context, id, after, bulk_event)
