"""The dispatcher claims due runs, executes them, and renews their leases.

It claims after a wake-up, when the next run is due, and every second in case a wake-up was lost. A run is due when its
`due_at` has passed. A claim moves `due_at` to the end of a lease, so a run whose worker is lost becomes due by itself.
Delivery is at least once; the lease token makes the journal exact.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from db.core import pubsub
from db.core.database import UNREADABLE, Database
from db.queue import due, holds
from db.runs import claims
from db.runs.claims import Claimed
from db.runs.transitions import Lease
from domain import ids, reasons
from domain.errors import DatabaseUnavailableError, QueryTimeoutError
from domain.ids import IdKind
from domain.observation.observer import SILENT, Observer
from domain.time import clock

_logger = logging.getLogger(__name__)

Execute = Callable[[Claimed], Awaitable[None]]
"""Executes a claimed run until it ends or is suspended. It raises nothing."""

_REFILL = 0.25
"""Share of the capacity that must be free before the next claim while there is a backlog, unless that takes longer than
the interval."""
_SUSPECT_INTERRUPTIONS = 2
"""Workers that were lost in succession with a run, from which on it is executed apart from others like it. One of them
may be the cause, such as a step that takes all memory; the others were beside it, and must not be given up with it."""
_SUSPECT_TIME = timedelta(seconds=10)
"""Time that such a run has for itself. It is bounded, because long runs would wait for each other for hours."""
_LOST_LEASE_GRACE = timedelta(seconds=1)
"""Time after which a task without a valid lease is aborted. A run that has just ended or paused has no lease either,
and its task ends within this time."""


@dataclass(frozen=True, slots=True)
class DispatcherSettings:
    """Settings of a dispatcher. Times are in seconds."""

    concurrency: int = 64
    """Largest number of runs that are executed at the same time."""
    lease: float = 15.0
    """Length of a lease. It is renewed every third of this."""
    interval: float = 1.0
    """Longest time between two claims."""
    grace: float = 10.0
    """Time for which runs may continue after `stop`."""


class Dispatcher:
    """Executes the runs of one database, `concurrency` at a time."""

    def __init__(
        self, database: Database, settings: DispatcherSettings | None = None, observer: Observer = SILENT
    ) -> None:
        self._database = database
        self._observer = observer
        self._settings = settings or DispatcherSettings()
        self._lease = timedelta(seconds=self._settings.lease)
        self._interval = timedelta(seconds=self._settings.interval)
        self._tasks: dict[asyncio.Future[None], Lease] = {}
        self._begun: dict[asyncio.Future[None], datetime] = {}
        self._lost_since: dict[asyncio.Future[None], datetime] = {}
        self._backlog = False
        self._suspect: asyncio.Future[None] | None = None
        """The run that was begun last of those whose workers were lost."""
        self._drained = False
        self._drain_seen_at = datetime.min.replace(tzinfo=UTC)
        self._next_look = self._seen_at = self._renewed_at = clock.now()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def executing(self) -> int:
        """The number of runs that are executed now."""
        return len(self._tasks)

    def executing_since(self) -> Mapping[UUID, datetime]:
        """Returns the runs that are executed now, each with the time of its claim."""
        return {lease.run_id: self._begun[task] for task, lease in self._tasks.items()}

    def stop(self) -> None:
        """Stops claiming."""
        self._stopping.set()
        self._wake.set()

    async def run(self, execute: Execute) -> None:
        """Claims and executes runs until `stop`. Runs that do not end within the grace period are released."""
        renewing = asyncio.create_task(self._keep_leases())
        try:
            with self._database.pubsub.subscribe(pubsub.RUNS_DUE) as self._wake:
                while not self._stopping.is_set():
                    self._wake.clear()
                    try:
                        await self._claim_batch(execute)
                    except UNREADABLE as error:
                        await self._back_off(error)
                    else:
                        await self._wait()
            await self._drain()
        finally:
            # After a failure here, their leases would no longer be renewed.
            for task in (renewing, *self._tasks):
                task.cancel()

    async def _claim_batch(self, execute: Execute) -> None:
        await self._adjust_to_clock()
        free = self._settings.concurrency - len(self._tasks)
        # With a backlog, wait until more capacity is free, because claiming many runs costs little more than claiming
        # one.
        few = self._backlog and free < self._settings.concurrency * _REFILL
        if few and timedelta(0) < self._next_look - clock.now() <= self._interval:
            return
        self._next_look = clock.now() + self._interval
        if free == 0 or await self._is_drained():
            return
        claimed = await self._database.write(claims.claim, free, self._lease)
        self._backlog = len(claimed) == free
        if claimed:
            self._observer.runs_claimed(len(claimed))
        suspects = [run for run in claimed if _is_suspect(run)]
        postponed = suspects[0 if self._has_suspect() else 1 :]
        if postponed:
            await self._postpone([run.lease for run in postponed])
        begun = clock.now()
        for run in claimed:
            if run in postponed:
                continue
            task = asyncio.ensure_future(execute(run))
            self._tasks[task] = run.lease
            self._begun[task] = begun
            task.add_done_callback(self._forget)
            if _is_suspect(run):
                self._suspect = task

    def _has_suspect(self) -> bool:
        """Returns True if a run whose workers were lost has just begun."""
        begun = None if self._suspect is None else self._begun.get(self._suspect)
        return begun is not None and timedelta(0) <= clock.now() - begun < _SUSPECT_TIME

    async def _postpone(self, leases: Sequence[Lease]) -> None:
        try:
            await self._database.write(claims.postpone, leases, self._interval)
        except UNREADABLE as error:
            # The leases expire.
            _logger.warning(
                "database unavailable", extra={"service": "dispatcher", "reason": reasons.of_database(error)}
            )

    async def _back_off(self, error: DatabaseUnavailableError | QueryTimeoutError) -> None:
        """Waits for the next attempt. Nothing shortens the pause: runs are due, also while none can be claimed."""
        fields = {
            "service": "dispatcher",
            "retry_in_seconds": self._settings.interval,
            "reason": reasons.of_database(error),
        }
        _logger.warning("database unavailable", extra=fields)
        await clock.wait_for(self._stopping, self._settings.interval)

    async def _is_drained(self) -> bool:
        """Returns True if no run may be claimed. Looks at most once in an interval, so that claims cost no more."""
        now = clock.now()
        if not timedelta(0) <= now - self._drain_seen_at < self._interval:
            try:
                self._drained = await self._database.read(holds.is_drained)
            except UNREADABLE:
                return self._drained  # the claim finds that out too
            self._drain_seen_at = now
        return self._drained

    async def _adjust_to_clock(self) -> None:
        """Adjusts leases and due times after a change of the clock, so that no run is claimed twice and no due run is
        missed."""
        now = clock.now()
        if now - self._renewed_at >= self._lease:
            # All leases seem to have expired, also those of this worker.
            await self._check_leases(renew=True)
            self._renewed_at = clock.now()
        if self._seen_at - now > self._interval:
            try:
                count = await self._database.write(claims.reschedule_after_clock_change, self._seen_at + self._interval)
            except UNREADABLE:
                return
            fields = {"seconds": (self._seen_at - now).total_seconds(), "runs": count}
            _logger.warning("clock set back", extra=fields)
        self._seen_at = now

    def _forget(self, task: asyncio.Future[None]) -> None:
        del self._tasks[task], self._begun[task]
        if not task.cancelled() and task.exception() is not None:
            _logger.error("task of a run failed", exc_info=task.exception())
        # Without a backlog the free capacity is not needed: a message announces new runs.
        if self._backlog:
            self._wake.set()

    async def _wait(self) -> None:
        # A clock that was set back must not prolong the wait.
        seconds = min((self._next_look - clock.now()).total_seconds(), self._settings.interval)
        if not self._backlog and not self._drained:
            seconds = min(seconds, await self._seconds_until_due())
        if seconds > 0:
            await clock.wait_for(self._wake, seconds)

    async def _seconds_until_due(self) -> float:
        try:
            due_at = await self._database.read(due.next_due)
        except UNREADABLE:
            due_at = None
        return self._settings.interval if due_at is None else (due_at - clock.now()).total_seconds()

    async def _keep_leases(self) -> None:
        """Renews leases in time, and aborts tasks whose runs were ended elsewhere.

        This process publishes the ends of its own runs; ends in other processes are found by reading.
        """
        renewal = self._lease / 3
        self._renewed_at = clock.now()
        with self._database.pubsub.subscribe(pubsub.RUNS_STOPPED) as stopped:
            while True:
                left = (self._renewed_at + renewal - clock.now()).total_seconds()
                await clock.wait_for(stopped, max(0, min(left, self._settings.interval)))
                stopped.clear()
                renew = not timedelta(0) <= clock.now() - self._renewed_at < renewal
                await self._check_leases(renew=renew)
                if renew:
                    self._renewed_at = clock.now()

    async def _check_leases(self, *, renew: bool) -> None:
        tasks = dict(self._tasks)
        if not tasks:
            return
        leases = list(tasks.values())
        try:
            if renew:
                held = await self._database.write(claims.renew, leases, self._lease)
            else:
                held = await self._database.read(claims.valid_leases, leases)
            lost = {task: lease.run_id for task, lease in tasks.items() if lease.run_id not in held}
            stopped = await self._database.read(claims.find_cancelled, list(lost.values())) if lost else ()
        except UNREADABLE as error:
            fields = {"service": "leases", "runs": len(leases), "reason": reasons.of_database(error)}
            _logger.warning("database unavailable", extra=fields)
            return
        now = clock.now()
        self._lost_since = {task: self._lost_since.get(task, now) for task in lost if task in self._tasks}
        for task, since in self._lost_since.items():
            if lost[task] in stopped or not timedelta(0) <= now - since < _LOST_LEASE_GRACE:
                # The result of the run could not be written.
                _logger.warning("lease lost", extra={"run_id": ids.encode(IdKind.RUN, lost[task])})
                self._observer.lease_lost()
                task.cancel()

    async def _drain(self) -> None:
        tasks = dict(self._tasks)
        if not tasks:
            return
        try:
            await clock.timeout(self._settings.grace, asyncio.wait(tasks))
        except TimeoutError:
            _logger.info("runs released at shutdown", extra={"runs": len(self._tasks)})
        unfinished = [lease for task, lease in tasks.items() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if unfinished:
            await self._database.write(claims.release, unfinished)


def _is_suspect(claimed: Claimed) -> bool:
    return claimed.run.interruptions >= _SUSPECT_INTERRUPTIONS
