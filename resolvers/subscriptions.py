"""The sources of subscriptions: they select the items for a subscriber, and turn each item into an object of the
schema.

All subscriptions are of one kind. The resolver of a subscription field authorises the viewer and returns a
`SourceStream`. The executor of operations (service/streams/subscription_rendering.py) takes batches of items from it,
and makes objects of the items that were not rendered for another subscriber before.
"""

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from db.events.log import LOG_LINES, RUN_STATUS, STEP_STATUS, LogPosition
from db.narrowing import narrow
from db.runs import reads as run_reads
from domain import ids
from domain.errors import RunNotFoundError, ServiceStoppingError, SlowConsumerError
from domain.ids import IdKind
from domain.runs.input_request_filter import InputRequestFilter
from domain.runs.run_filter import RunFilter
from live.events import HubClosedError, Item, ItemSource, LogItem, QueueFullError, TrySend
from live.stats_feed import Statistics
from live.topics import InputRequestsTopic, OperationTopic, RunsTopic, RunTopic, Topic
from resolvers import bulk
from resolvers.context import Context
from resolvers.cursors import decode_cursor, encode_cursor
from resolvers.flow_runs import runs

I = TypeVar("I", bound=Item)  # noqa: E741
T = TypeVar("T")

_CURSOR = struct.Struct(">q")
"""The form of a cursor: a log position."""
_PROGRESS_KINDS = frozenset({RUN_STATUS, STEP_STATUS, LOG_LINES})


class SourceStream(Generic[I, T]):
    """The source stream of a subscription, in the words of the GraphQL specification: one object per event.

    Raises:
        SlowConsumerError: too many events waited for the subscriber.
        ServiceStoppingError: the process stops.
    """

    __slots__ = ("_source", "to_object")

    def __init__(self, source: ItemSource[I], to_object: Callable[[I], T]) -> None:
        """`to_object` turns an item into an object of the schema: equal items become equal objects, for every
        subscriber."""
        self._source = source
        self.to_object = to_object

    async def __aiter__(self) -> AsyncIterator[T]:
        while items := await self.batch():
            for item in items:
                yield self.to_object(item)

    async def batch(self, try_send: TrySend | None = None) -> Sequence[I]:
        """Waits for the next items and returns them; empty at the end of the stream. See `ItemSource.batch`."""
        try:
            return await self._source.batch(try_send)
        except QueueFullError as error:
            raise SlowConsumerError(cursor=encode_position(error.position)) from error
        except HubClosedError as error:
            raise ServiceStoppingError from error

    async def aclose(self) -> None:
        """Ends the subscription."""
        await self._source.aclose()


async def run_changes(
    context: Context, run_filter: RunFilter, after: str | None, to_object: Callable[[LogItem], T]
) -> SourceStream[LogItem, T]:
    """Returns the changes of runs that match a scoped filter after the change, or may have matched it before.

    Raises:
        InvalidCursorError: `after` is malformed.
        SearchOffError: the filter searches, and the search is off or not filled yet.
    """
    if run_filter.searched:
        await context.database.read(narrow.require_search, run_filter)
    return _subscribe(context, RunsTopic(run_filter, is_confined=context.viewer.scope is not None), after, to_object)


def input_request_changes(
    context: Context, where: InputRequestFilter, after: str | None, to_object: Callable[[LogItem], T]
) -> SourceStream[LogItem, T]:
    """Returns the changes of input requests that match a scoped filter after the change, or matched before it.

    Raises:
        InvalidCursorError: `after` is malformed.
    """
    return _subscribe(context, InputRequestsTopic(where), after, to_object)


async def run_progress(
    context: Context, run_id: str, after: str | None, to_object: Callable[[LogItem], T]
) -> SourceStream[LogItem, T]:
    """Returns the events of a run, its steps and its log, until the run's end.

    Raises:
        InvalidIdError: `run_id` is not the ID of a run.
        RunNotFoundError: the viewer can see no such run.
        InvalidCursorError: `after` is malformed.
    """
    key = ids.decode(IdKind.RUN, run_id)
    run = (await context.database.read(run_reads.by_ids, [key], frozenset({"project_id"}))).get(key)
    if run is None or not await runs.is_visible(context, run):
        raise RunNotFoundError
    return _subscribe(context, RunTopic(key, _PROGRESS_KINDS), after, to_object)


async def bulk_progress(
    context: Context, operation_id: str, after: str | None, to_object: Callable[[LogItem], T]
) -> SourceStream[LogItem, T]:
    """Returns the progress of a bulk operation until its end. Without a cursor, its present state comes first.

    Raises:
        InvalidIdError: `operation_id` is not the ID of a bulk operation.
        BulkOperationNotFoundError: the viewer can see no such operation.
        InvalidCursorError: `after` is malformed.
    """
    key = (await bulk.require(context, operation_id)).id
    return _subscribe(context, OperationTopic(key), after, to_object)


async def stats_changes(
    context: Context, run_filter: RunFilter, to_object: Callable[[Statistics], T]
) -> SourceStream[Statistics, T]:
    """Returns the statistics over the runs that match a scoped filter: now, and again when they may have changed.

    Raises:
        SearchOffError: the filter searches, and the search is off or not filled yet.
    """
    if run_filter.searched:
        await context.database.read(narrow.require_search, run_filter)
    assert context.stats is not None  # It is set wherever subscriptions are executed.
    return SourceStream(context.stats.subscribe(run_filter), to_object)


def _subscribe(
    context: Context, topic: Topic, after: str | None, to_object: Callable[[LogItem], T]
) -> SourceStream[LogItem, T]:
    cursor = context.resume_after or after
    assert context.hub is not None  # It is set wherever subscriptions are executed.
    source = context.hub.subscribe(topic, decode_position(cursor) if cursor is not None else None)
    return SourceStream(source, to_object)


def encode_position(position: LogPosition) -> str:
    """Returns the cursor of a position."""
    return encode_cursor(_CURSOR.pack(position))


def decode_position(cursor: str) -> LogPosition:
    """Returns the position of a cursor.

    Raises:
        InvalidCursorError: the cursor is malformed.
    """
    (position,) = decode_cursor(_CURSOR, cursor)
    return LogPosition(position)
