"""What subscribers are told of one run, and what its events say beyond their rows."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from db.core.database import Database
from db.events import log as event_log
from db.events.log import LOG_LINES, RUN_STATUS, STEP_STATUS, LogPosition
from db.row_types import LogLineRow
from db.runs import logs
from db.runs import reads as run_reads
from db.sql.rows import AnyRow
from domain import ids, json_codec
from domain.enums import StepStatus
from domain.errors import RunNotFoundError
from domain.ids import IdKind
from domain.state_machine import FINAL
from live.hub import CaughtUp, Item, Subscription, TryDeliver
from live.topics import RunTopic
from resolvers import authorize
from resolvers.context import Context
from resolvers.subscriptions import Stream, subscribe

T = TypeVar("T")

_KINDS = frozenset({RUN_STATUS, STEP_STATUS, LOG_LINES})


class RunStream(Stream[T]):
    """The events of one run: ends when it has told of the run's end, and that the subscriber has caught up."""

    __slots__ = ("_database", "_is_live", "_is_over", "_items", "_run_id", "_saw_end")

    def __init__(self, feed: Subscription, tell: Callable[[Item], T], database: Database, run_id: UUID) -> None:
        """See `Stream`."""
        super().__init__(feed, tell)
        self._database = database
        self._run_id = run_id
        self._is_live = self._saw_end = self._is_over = False
        self._items: list[Item] = []

    async def __anext__(self) -> T:
        if not self._items:
            self._items = list(await self.batch())
        if not self._items:
            raise StopAsyncIteration
        return self.tell(self._items.pop(0))

    async def batch(self, take: TryDeliver | None = None) -> Sequence[Item]:
        """The next items, as many as came together; none at the end. All of them, for it looks for that end."""
        if self._is_over:
            return ()
        items = await super().batch()
        # What belongs to the end of a run stands before it in the log, and nothing of these kinds behind it.
        self._saw_end = self._saw_end or any(_is_end(item) for item in items)
        if isinstance(items[-1], CaughtUp):
            self._is_live = True
            self._saw_end = self._saw_end or await self._ended_before(items[-1].place)
        self._is_over = self._is_live and self._saw_end
        return items

    async def _ended_before(self, place: LogPosition) -> bool:
        # Asked of the log, not of the run, whose end may be committed and still wait behind that place.
        return await self._database.read(event_log.ended_before, self._run_id, place)


def _is_end(item: Item) -> bool:
    return not isinstance(item, CaughtUp) and item.event.row.kind == RUN_STATUS and item.event.row.to_status in FINAL


async def of_run(context: Context, run_id: str, after: str | None, tell: Callable[[Item], T]) -> RunStream[T]:
    """What happens to a run, its steps and its log behind the cursor `after` (None: from now on), up to its end.

    Raises:
        InvalidIdError: `run_id` is not the ID of a run.
        RunNotFoundError: there is none that the viewer sees.
        InvalidCursorError: `after` is damaged.
    """
    key = ids.decode(IdKind.RUN, run_id)
    found = (await context.database.read(run_reads.by_ids, [key], frozenset({"project_id"}))).get(key)
    if not authorize.can_see(context.viewer, found):
        raise RunNotFoundError
    return subscribe(context, RunTopic(key, _KINDS), after, lambda feed: RunStream(feed, tell, context.database, key))


def said(event: AnyRow) -> dict[str, Any]:
    """What an event tells in its `data`."""
    told: dict[str, Any] = json_codec.decode(event.data)
    return told


async def lines(context: Context, event: AnyRow) -> Sequence[LogLineRow]:
    """The lines of the log that an event tells of."""
    data = said(event)
    return await context.loaders.load(logs.by_ranges, (event.run_id, data["first"], data["last"])) or []


async def step_error(context: Context, event: AnyRow) -> str | None:
    """Why a step failed, or its try did, by which its status changed; JSON text."""
    data = said(event)
    if event.to_status == StepStatus.PENDING:
        attempts = await context.loaders.load(run_reads.attempts_by_steps, (event.run_id, data["position"])) or []
        return next((row.error for row in attempts if row.number == data["attempt"]), None)
    if event.to_status != StepStatus.FAILED:
        return None
    step = await context.loaders.load(run_reads.steps_by_names, (event.run_id, event.step_name), frozenset({"error"}))
    return step.error if step is not None else None
