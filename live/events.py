"""The items that subscriptions deliver, and the errors that end them.

A subscription delivers items in batches. An item is an event of the log that matched (`MatchedEvent`), the mark between
replayed and live events (`CaughtUp`), or statistics (`live.stats_feed.Statistics`). Subscribers of equal topics receive
the same objects, so everything that is computed from an item is kept in its memo and computed once.
"""

import asyncio
from collections.abc import Hashable, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from uuid import UUID

from db.events.log import LogPosition
from db.row_types import EventRow

Memo = dict[Hashable, Any]
"""Results that are computed once and shared by all subscribers, by the values on which they depend."""


class ReadBatch:
    """Items that were read together. Rendering loads the rows that they need together."""

    __slots__ = ("memo",)

    def __init__(self) -> None:
        self.memo: Memo = {}


class Item(Protocol):
    """An item that a subscription delivers."""

    @property
    def position(self) -> LogPosition | None:
        """The position in the event log; None for items that are outside the log."""
        ...

    @property
    def batch(self) -> ReadBatch:
        """The items that were read together with this one."""
        ...

    @property
    def memo(self) -> Memo:
        """The results that were computed from this item."""
        ...


class EventOfKind(EventRow, Protocol):
    """A row of the event log for readers of one kind of event: the columns that this kind sets are not null."""

    run_id: UUID
    operation_id: UUID
    step_name: str
    to_status: str
    data: str


class LogEvent:
    """A row of the event log: one object for all subscribers of the process."""

    __slots__ = ("batch", "memo_if_matching", "memo_if_not_matching", "position", "row")

    def __init__(self, row: EventRow, batch: ReadBatch) -> None:
        self.row = row
        self.position: LogPosition = row.seq
        self.batch = batch
        self.memo_if_matching: Memo = {}
        self.memo_if_not_matching: Memo = {}


class MatchedEvent:
    """An event that matched a topic."""

    __slots__ = ("event", "matches")

    def __init__(self, event: LogEvent, matches: bool) -> None:
        self.event = event
        self.matches = matches
        """True if the run matches the topic's filter after the event; False if it only matched, or may have matched,
        before."""

    @property
    def row(self) -> EventOfKind:
        """The row of the event log."""
        return cast("EventOfKind", self.event.row)

    @property
    def position(self) -> LogPosition:
        """See `Item`."""
        return self.event.position

    @property
    def batch(self) -> ReadBatch:
        """See `Item`."""
        return self.event.batch

    @property
    def memo(self) -> Memo:
        """See `Item`. Topics share it, except that `matches` may differ between them."""
        return self.event.memo_if_matching if self.matches else self.event.memo_if_not_matching


class CaughtUp:
    """The mark between replayed and live events: every event up to `position` was delivered. One for each
    subscription."""

    __slots__ = ("batch", "memo", "position")

    def __init__(self, position: LogPosition) -> None:
        self.position = position
        self.batch = ReadBatch()
        self.memo: Memo = {}


LogItem = MatchedEvent | CaughtUp
"""An item of a subscription to the event log."""

I_co = TypeVar("I_co", bound=Item, covariant=True)


class SendStatus(Enum):
    """The outcome of trying to send events without waiting."""

    SENT = auto()
    """All events were sent."""
    BLOCKED = auto()
    """The connection accepts no more for now. The subscriber's task sends the rest later."""
    RENDERING = auto()
    """The events are being rendered. Try again when `SendResult.rendered` is done."""
    FAILED = auto()
    """An event cannot be rendered. The subscriber's task meets the same error and reports it to the client."""


class SendResult(NamedTuple):
    """The result of sending events without waiting."""

    status: SendStatus
    sent: int = 0
    """Number of events, from the first one, that were sent before the connection was BLOCKED."""
    rendered: "asyncio.Future[None] | None" = None
    """Done when it is worthwhile to try again; set if the status is RENDERING."""


SENT = SendResult(SendStatus.SENT)
FAILED = SendResult(SendStatus.FAILED)


class TrySend(Protocol):
    """Sends events to one subscriber without waiting."""

    def __call__(self, events: Sequence[MatchedEvent], /) -> SendResult: ...


class ItemSource(Protocol[I_co]):
    """A subscription, as transports use it."""

    async def batch(self, try_send: TrySend | None = None) -> Sequence[I_co]:
        """Waits for the next items and returns them; empty at the end of a subscription that ends.

        While it waits, live events may be sent by `try_send` instead, as long as that sends all of them.

        Raises:
            SubscriptionError: there will be no more items.
        """
        ...

    async def aclose(self) -> None:
        """Ends the subscription. Must be called once for each subscription that was iterated."""
        ...


class SubscriptionError(Exception):
    """A subscription ends."""


class QueueFullError(SubscriptionError):
    """The subscriber takes events more slowly than they arrive."""

    def __init__(self, position: LogPosition) -> None:
        super().__init__("The subscriber is too slow.")
        self.position = position
        """The position of the last event that the subscriber took."""


class TailerFailedError(SubscriptionError):
    """The tailer met an unexpected error. It ends its subscriptions, which would otherwise wait for ever."""


class HubClosedError(SubscriptionError):
    """The process is stopping."""
