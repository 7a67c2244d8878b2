"""Turns the event log into deliveries, one for each event and endpoint that match, and counts events for alerts.

One worker reads the log for all, under a lease. Position, deliveries and counts are written in one transaction, so a
worker that is killed anywhere loses no event and uses none twice. Without endpoints and alerts no worker reads the log.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from operator import or_
from typing import Any
from uuid import UUID, uuid4

from db.core import pubsub
from db.core.database import Database
from db.deliveries import callbacks, relay
from db.deliveries.callbacks import Callback
from db.deliveries.relay import LeaseLostError
from db.events import log as event_log
from db.events.log import Gaps, LogPosition, NeededOfRuns
from db.outbound_row_types import AlertRow, EndpointRow
from db.row_types import EventRow, RunRow
from db.runs import reads as run_reads
from db.runs.waits import input_requests
from domain import ids, json_codec
from domain.errors import FlowRunsError
from domain.ids import IdKind
from domain.outbound.alert import Hit
from domain.outbound.delivery import MAX_AGE, DeliveryStatus, EventKind
from domain.runs.state_machine import FINAL
from domain.time import clock
from engine.alerts.matching import AlertMatcher, RunPredicate
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

PAGE_SIZE = 500
"""Events per read."""
IDLE_SECONDS = 10.0
"""Seconds between two looks for endpoints and alerts, while there are none. A new one is announced."""
READ_SECONDS = 1.0
"""Seconds between two reads without a notification: other processes may send none."""
GAP_SECONDS = 0.02
"""Seconds between two reads at most, and until a missing number of the log is looked for again."""
LEASE = timedelta(seconds=6)
"""How long the log waits for a worker that was killed."""
LATE = timedelta(seconds=10)
"""Time between two searches for late runs and schedules."""
LATE_LIMIT = 5_000
"""Late runs, and late schedules, that one search counts for an alert at most."""
SAVED_EVENTS = 2_000
"""Events without a delivery after which the position is saved. A worker that takes over reads as many again."""


CompileFilter = Callable[[str], RunPredicate]
"""Makes the predicate of a filter from its stored JSON text. Raises ValueError or FlowRunsError if that is not
understood."""


class _Target:
    """An endpoint with what decides which events it gets."""

    __slots__ = ("kinds", "predicate", "row")

    def __init__(self, row: EndpointRow, predicate: RunPredicate) -> None:
        self.row = row
        self.kinds = frozenset(json_codec.decode(row.kinds))
        self.predicate = predicate

    def gets(self, kind: EventKind, event: EventRow, run: RunRow) -> bool:
        is_new = event.seq > self.row.after_seq
        return is_new and kind in self.kinds and self.predicate.matches(event, run)


class Relay(BackgroundService):
    """Reads the event log for endpoints and alerts. Any number of processes can run one."""

    def __init__(self, database: Database, compile_filter: CompileFilter) -> None:
        super().__init__("relay", IDLE_SECONDS, database.pubsub, pubsub.ENDPOINTS_CHANGED)
        self._database = database
        self._compile = compile_filter
        self._token = uuid4()
        self._notified = asyncio.Event()
        self._targets: Mapping[UUID, Sequence[_Target]] = {}
        """The endpoints of each project."""
        self._alerts = AlertMatcher(database)
        self._needed = event_log.NOTHING
        self._version: int | None = None
        self._position: LogPosition = 0
        """The position up to which all events were turned into deliveries."""
        self._saved: LogPosition = 0
        """The position in the database."""
        self._leased_until: datetime | None = None
        """The end of the lease; None: this worker has none."""
        self._gaps: Gaps | None = None
        self._late_at = datetime.min.replace(tzinfo=UTC)
        """The next search for late runs and schedules."""

    def stop(self) -> None:
        """Start no further turn; `run` returns when the current one has ended."""
        super().stop()
        self._notified.set()

    async def work(self) -> float:
        """Follows the log while there are endpoints or alerts; returns the seconds until the next look for them."""
        await self._load()
        if not self._has_consumers:
            return self.interval
        with self._database.pubsub.subscribe(pubsub.EVENTS) as self._notified:
            while self._has_consumers and not self.is_stopping:
                self._notified.clear()
                seconds = await self._step()
                await clock.sleep(GAP_SECONDS)
                if seconds and not self.is_stopping:
                    await clock.wait_for(self._notified, seconds)
        await self._release()
        return self.interval

    async def shut_down(self) -> None:
        """Releases the lease, so that another worker takes it at once."""
        await self._release()

    async def drain(self) -> None:
        """Turns all events so far into deliveries, if no other worker does."""
        await self._load()
        while self._has_consumers and await self._step() == 0:
            pass

    async def count_late(self) -> None:
        """Counts for alerts what has become late, unless another process reads the log. Reads no events."""
        await self._load()
        if self._alerts.has_late and await self._acquire(now := clock.now()):
            try:
                await self._count_late(now)
            finally:
                await self._release()

    @property
    def _has_consumers(self) -> bool:
        return bool(self._targets) or not self._alerts.is_empty

    async def _step(self) -> float:
        """Reads the next events; returns the seconds until the next read, unless a notification comes before."""
        now = clock.now()
        has_lease = self._leased_until is not None and now < self._leased_until - LEASE / 2
        if not has_lease and not await self._acquire(now):
            return READ_SECONDS
        if self._alerts.has_late and now >= self._late_at:
            await self._count_late(now)
        page = await self._database.read(relay.page, self._position, self._gaps, PAGE_SIZE, self._needed)
        if page.version != self._version:
            await self._load()
            return 0
        self._gaps = page.tail.gaps
        deliveries = await self._deliveries(page.tail.rows, page.tail.runs)
        hits = await self._alerts.hits(page.tail.rows, page.tail.runs)
        if deliveries or hits or page.tail.end >= self._saved + SAVED_EVENTS:
            await self._save(deliveries, hits, page.tail.end)
        else:
            self._position = page.tail.end
        if page.tail.gaps is not None:
            return GAP_SECONDS
        return READ_SECONDS if page.tail.is_last else 0

    async def _load(self) -> None:
        found = await self._database.read(relay.consumers)
        targets: dict[UUID, list[_Target]] = {}
        for row in found.endpoints:
            if (predicate := self._compiled(IdKind.ENDPOINT, row)) is not None:
                targets.setdefault(row.project_id, []).append(_Target(row, predicate))
        self._targets = targets
        self._alerts.load(found.alerts, partial(self._compiled, IdKind.ALERT))
        needed = (target.predicate.needed for group in targets.values() for target in group)
        self._needed = reduce(or_, needed, self._alerts.needed | NeededOfRuns(frozenset({"status"})))
        self._version = found.state.version
        self._move_to(found.state.seq)

    def _compiled(self, kind: IdKind, row: EndpointRow | AlertRow) -> RunPredicate | None:
        try:
            return self._compile(row.run_filter)
        except (ValueError, FlowRunsError) as error:
            # Another version of the service wrote the filter. A wider one would send what was not asked for.
            fields = {"object_id": ids.encode(kind, row.id), "error": str(error)}
            _logger.error("filter not understood: its endpoint or alert gets no events", extra=fields)  # noqa: TRY400
            return None

    def _move_to(self, saved: LogPosition) -> None:
        """Goes on from the saved position, unless the events behind it were read already and gave no delivery."""
        self._saved = saved
        if saved > self._position:
            self._position, self._gaps = saved, None

    async def _acquire(self, now: datetime) -> bool:
        """Takes or renews the lease. Returns False while another worker reads the log."""
        until = now + LEASE
        if not await self._database.write(relay.acquire, self._token, now, until):
            self._leased_until = None
            return False
        self._leased_until = until
        self._move_to((await self._database.read(relay.state)).seq)
        return True

    async def _release(self) -> None:
        if self._leased_until is not None:
            self._leased_until = None
            await self._database.write(relay.release, self._token)

    async def _count_late(self, now: datetime) -> None:
        """Counts the runs and schedules that have become late since the last search, in this process or another
        one."""
        state = await self._database.read(relay.state)
        hits = await self._alerts.late(state.late_until or now, now, LATE_LIMIT)
        try:
            await self._database.write(relay.count_late, self._token, now, hits)
        except LeaseLostError:
            self._lose_lease()
        self._late_at = now + LATE

    def _lose_lease(self) -> None:
        """Drops what was read: the other worker has turned these events into deliveries."""
        self._leased_until = None
        self._position, self._gaps = self._saved, None

    async def _save(self, deliveries: Sequence[Mapping[str, Any]], hits: Sequence[Hit], position: LogPosition) -> None:
        until = clock.now() + LEASE
        try:
            await self._database.write(relay.advance, self._token, position, until, deliveries, hits)
        except LeaseLostError:
            self._lose_lease()
            return
        self._position = self._saved = position
        self._leased_until = until

    async def _deliveries(self, events: Sequence[EventRow], runs: Mapping[UUID, RunRow]) -> list[dict[str, Any]]:
        """Returns the deliveries of events, in their order."""
        runs = {**runs, **await self._runs_of_requests(events)}
        found = [
            (event, kind, target)
            for event in events
            for target in self._targets.get(event.project_id, ())
            if (kind := _event_kind(event)) is not None
            and (run := runs.get(event.run_id) if event.run_id else None) is not None
            and target.gets(kind, event, run)
        ]
        called = {event.run_id for event, _, target in found if target.row.url is None and event.run_id is not None}
        urls = await self._database.read(callbacks.of_runs, sorted(called)) if called else {}
        return list(_rows(found, urls))

    async def _runs_of_requests(self, events: Sequence[EventRow]) -> Mapping[UUID, RunRow]:
        """Returns the runs of input requests that changed, which the page of events has not read."""
        run_ids = {
            event.run_id
            for event in events
            if event.kind == event_log.INPUT_REQUEST and event.run_id is not None and event.project_id in self._targets
        }
        if not run_ids:
            return {}
        return await self._database.read(run_reads.by_ids, sorted(run_ids), self._needed.columns, self._needed.texts)


def _event_kind(event: EventRow) -> EventKind | None:
    """Returns the kind of an event as endpoints name it; None if no endpoint gets it."""
    match event.kind:
        case event_log.RUN_STATUS:
            return EventKind.RUN_ENDED if event.to_status in FINAL else EventKind.RUN_STATUS_CHANGED
        case event_log.INPUT_REQUEST:
            return EventKind.INPUT_REQUEST_CHANGED
        case event_log.RUN_ARCHIVED | event_log.RUN_UNARCHIVED | event_log.RUN_RECOVERED | event_log.RUN_CHANGED:
            return EventKind(event.kind)
        case _:
            return None


def _rows(
    found: Iterable[tuple[EventRow, EventKind, _Target]], urls: Mapping[UUID, Callback]
) -> Iterator[dict[str, Any]]:
    for event, kind, target in found:
        endpoint = target.row
        callback = urls.get(event.run_id) if endpoint.url is None and event.run_id is not None else None
        if endpoint.url is None and callback is None:
            continue
        yield {
            **new_delivery(endpoint, kind, event.at),
            "lane": endpoint.id if callback is None else callback.lane,
            "event_seq": event.seq,
            "run_id": event.run_id,
            "callback_run_id": None if callback is None else callback.run_id,
            "request_id": input_requests.asked(event).id if event.kind == event_log.INPUT_REQUEST else None,
            "from_status": event.from_status,
            "to_status": event.to_status,
        }


def new_delivery(endpoint: EndpointRow, kind: EventKind, at: datetime) -> dict[str, Any]:
    """Returns the columns of a new delivery that is due at once."""
    delivery_id = ids.new_uuid()
    # Not the time of the ID, which is ahead of the clock for seconds after the clock was set back.
    now = clock.now()
    return {
        "id": delivery_id,
        "project_id": endpoint.project_id,
        "endpoint_id": endpoint.id,
        "lane": endpoint.id,
        "kind": kind,
        "event_seq": None,
        "run_id": None,
        "callback_run_id": None,
        "request_id": None,
        "from_status": None,
        "to_status": None,
        "at": at,
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "failures": 0,
        "try_until": now + MAX_AGE,
        "due_at": now,
        "lease_token": None,
        "response_status": None,
        "created_at": ids.created_at(delivery_id),
        "ended_at": None,
    }
