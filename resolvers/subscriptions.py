"""What subscribers are told: a stream of items of the event log, and what becomes of each.

A stream is the source of a GraphQL subscription. Whoever executes that (service/streams.py) takes items from it in
batches, and turns those into objects of the schema that it has to render; so what many subscribers are told in the same
words is made once.
"""

import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from db.events import log as event_log
from db.events.log import LogPosition
from db.sql.rows import AnyRow
from domain import json_codec
from domain.bulk import ENDED
from domain.errors import ServiceStoppingError, SlowConsumerError
from domain.run_filter import RunFilter
from live import hub
from live.hub import CaughtUp, Item, MatchedEvent, TryDeliver
from live.topics import OperationTopic, RunsTopic, Topic
from resolvers import bulk
from resolvers.context import Context
from resolvers.cursors import decode_cursor, encode_cursor

S = TypeVar("S")
T = TypeVar("T")

# The transaction and the number of an event.
_CURSOR = struct.Struct(">q")


class Stream(Generic[T]):
    """The items of a feed, and how each is told: an async iterator of objects of the schema.

    Raises:
        SlowConsumerError: too many events waited for the subscriber.
        ServiceStoppingError: the process stops.
    """

    __slots__ = ("_feed", "tell")

    def __init__(self, feed: hub.Subscription, tell: Callable[[Item], T]) -> None:
        """`tell` makes the object of an item; for equal items it must make equal objects, whoever subscribes."""
        self._feed = feed
        self.tell = tell

    def __aiter__(self) -> "Stream[T]":
        return self

    async def __anext__(self) -> T:
        try:
            return self.tell(await anext(self._feed))
        except hub.HubError as error:
            raise to_client_errors(error) from error

    async def batch(self, take: TryDeliver | None = None) -> Sequence[Item]:
        """The next items, as many as came together, but for those that `take` takes meanwhile (`Feed.batch`).

        None at the end of a stream that has one.
        """
        try:
            return await self._feed.batch(take)
        except hub.HubError as error:
            raise to_client_errors(error) from error

    async def aclose(self) -> None:
        """Take nothing more."""
        await self._feed.aclose()


def subscribe(context: Context, selector: Topic, after: str | None, stream: Callable[[hub.Subscription], S]) -> S:
    """What `selector` means behind the cursor `after` (None: from now on), as a `stream`.

    Raises:
        InvalidCursorError: `after` is damaged.
    """
    cursor = context.resume_after or after
    place = position_of_cursor(cursor) if cursor is not None else None
    assert context.hub is not None  # it is there wherever subscriptions are executed
    return stream(context.hub.subscribe(selector, place))


def run_changes(
    context: Context, wanted: RunFilter, after: str | None, tell: Callable[[MatchedEvent | CaughtUp], T]
) -> Stream[T]:
    """The changes of runs that `wanted`, a scoped filter, means after the change, or may have meant before.

    Raises:
        InvalidCursorError: `after` is damaged.
    """
    return subscribe(context, RunsTopic(wanted), after, lambda feed: Stream(feed, tell))


async def bulk_progress(context: Context, operation_id: str, after: str | None) -> AsyncGenerator[MatchedEvent, None]:
    """How a bulk operation goes on behind a cursor; without one, how it stands comes first. Ends with its end.

    Raises:
        InvalidIdError, InvalidCursorError, BulkOperationNotFoundError.
    """
    place = position_of_cursor(after) if after is not None else None
    key = (await bulk.require(context, operation_id)).id
    last = await context.database.read(event_log.last_progress, key)
    if last is not None and place is None:
        place = last.seq - 1
    if last is not None and _is_over(last) and place is not None and place >= last.seq:
        return
    assert context.hub is not None  # it is there wherever subscriptions are executed
    selector = OperationTopic(key, frozenset({event_log.BULK_PROGRESS}))
    async with aclosing(Stream(context.hub.subscribe(selector, place), _as_it_is)) as progress:
        async for item in progress:
            if isinstance(item, MatchedEvent):
                yield item
                if _is_over(item.event.row):
                    return


def _as_it_is(item: Item) -> Item:
    return item


def _is_over(progress: AnyRow) -> bool:
    return json_codec.decode(progress.data)["status"] in ENDED


def cursor_of(item: Item) -> str:
    """The cursor by which a client goes on behind `item`."""
    return cursor_of_position(item.place)


def position_of_cursor(cursor: str) -> LogPosition:
    """The place behind a cursor.

    Raises:
        InvalidCursorError: it is damaged.
    """
    (place,) = decode_cursor(_CURSOR, cursor)
    return LogPosition(place)


def cursor_of_position(place: LogPosition) -> str:
    """The cursor of a place."""
    return encode_cursor(_CURSOR.pack(place))


def to_client_errors(error: hub.HubError) -> Exception:
    match error:
        case hub.SlowConsumerError(place=place):
            return SlowConsumerError(cursor=cursor_of_position(place))
        case hub.HubClosedError():
            return ServiceStoppingError()
    return error
