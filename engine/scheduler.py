"""Starts runs when the schedules of flows say so.

A schedule is due when its `next_fire_at` has passed. Moving that on is a guarded UPDATE in the transaction that writes
the runs: of many workers one starts a fire, and a worker that dies has started it or has not. A fire that no worker saw
to within a minute was missed; the schedule says what becomes of it. The clock may jump: `next_fire_at` only ever grows,
so a time that comes twice fires once.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from uuid import UUID

from db import schedules
from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.runs import step_journal
from db.schedules import DueSchedule
from domain import clock, ids, json_codec
from domain.cron import CronSchedule, get_zone
from domain.enums import MissedFires, SkipReason, TriggerMethod
from domain.errors import DatabaseUnavailableError, InputInvalidError
from domain.ids import IdKind
from engine import run_creation
from engine.compiled_flow import FlowCache

_logger = logging.getLogger(__name__)

ON_TIME = timedelta(minutes=1)
"""A fire that is later than this was missed."""
MAX_MADE_UP = 100
"""Runs that one schedule starts at once for what was missed."""
INTERVAL_SECONDS = 5.0
"""At the longest, between two looks at the table: another process may have changed a schedule."""
_BATCH = 100
_CARRIED_OVER = ("environment", "tags", "metadata", "input")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done about a schedule that is due."""

    fires: Sequence[datetime]
    """The fire times at which runs are started, oldest first."""
    next_fire_at: datetime | None
    skipped_at: datetime | None = None
    reason: SkipReason | None = None


class Scheduler:
    """Starts the runs of all schedules of one database; any number of processes may."""

    def __init__(self, database: Database, flows: FlowCache) -> None:
        self._database = database
        self._flows = flows
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Start no more; `run` returns."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Start runs as they are due, until `stop`."""
        with self._database.signals.listen(pubsub.SCHEDULES_CHANGED) as self._wake:
            while not self._stopping.is_set():
                self._wake.clear()
                await self._look()

    async def fire_due(self) -> None:
        """Start the runs of the schedules that are due now."""
        while True:
            found = await self._database.read(schedules.due, clock.now(), _BATCH)
            for schedule in found:
                await self._fire(schedule)
            if len(found) < _BATCH or self._stopping.is_set():
                return

    async def _look(self) -> None:
        try:
            await self.fire_due()
            next_at = await self._database.read(schedules.next_fire)
        except DatabaseUnavailableError:
            _logger.warning("The database is away; looking for schedules again in %g s", INTERVAL_SECONDS)
            next_at = None
        seconds = INTERVAL_SECONDS
        if next_at is not None:
            seconds = min(seconds, (next_at - clock.now()).total_seconds())
        if seconds > 0 and not self._stopping.is_set():
            await clock.wait_for(self._wake, seconds)

    async def _fire(self, schedule: DueSchedule) -> None:
        plan = _planned(schedule, clock.now())
        reason = await self._refusal(schedule)
        if plan.fires and reason is not None:
            plan = _Plan((), plan.next_fire_at, plan.fires[-1], reason)
        if plan.reason is not None:
            name = ids.encode(IdKind.SCHEDULE, schedule.id)
            _logger.warning("%s started no run at %s: %s", name, plan.skipped_at, plan.reason)
        for run_id in await self._database.write(_carry_out, schedule, plan):
            told = ids.encode(IdKind.RUN, run_id), ids.encode(IdKind.SCHEDULE, schedule.id)
            _logger.warning("%s, which %s started, is beyond the quota of its project", *told)

    async def _refusal(self, schedule: DueSchedule) -> SkipReason | None:
        """Why the flow cannot be started now."""
        if not schedule.flow_enabled:
            return SkipReason.FLOW_DISABLED
        if schedule.published_version_id is None:
            return SkipReason.FLOW_NOT_PUBLISHED
        try:
            flow = await self._flows.get(schedule.published_version_id)
            flow.check_input(json_codec.decode(schedule.input))
        except InputInvalidError:
            return SkipReason.INPUT_INVALID
        except DatabaseUnavailableError:
            raise
        except Exception:
            # One schedule that cannot be helped must not hold up the others.
            _logger.exception("Could not look at the flow of %s", ids.encode(IdKind.SCHEDULE, schedule.id))
            return SkipReason.INTERNAL_ERROR
        return None


def _planned(schedule: DueSchedule, now: datetime) -> _Plan:
    try:
        timetable = CronSchedule(schedule.cron, get_zone(schedule.time_zone))
    except ValueError:
        return _Plan((), None, schedule.next_fire_at, SkipReason.SCHEDULE_INVALID)
    since = schedule.next_fire_at
    assert since is not None  # the schedule is due
    later = takewhile(lambda at: at > since, timetable.until(now))
    # The one that was told as the next, and the latest that have passed since.
    passed = [*islice(later, MAX_MADE_UP), since]
    fires = _chosen(MissedFires(schedule.missed_fires), passed, now)
    dropped = [] if schedule.missed_fires == MissedFires.FIRE_ONCE else [at for at in passed if at not in fires]
    missed = (dropped[0], SkipReason.MISSED) if dropped else (None, None)
    return _Plan(fires[::-1], timetable.after(now), *missed)


def _chosen(policy: MissedFires, passed: Sequence[datetime], now: datetime) -> Sequence[datetime]:
    """Of the fire times that have passed, latest first, those for which runs are started."""
    on_time = [at for at in passed if now - at <= ON_TIME]
    if policy is MissedFires.FIRE_ALL:
        return passed[:MAX_MADE_UP]
    if policy is MissedFires.FIRE_ONCE:
        return on_time or passed[:1]
    return on_time


def _carry_out(uow: UnitOfWork, schedule: DueSchedule, plan: _Plan) -> Collection[UUID]:
    """Returns the runs that are beyond the project's quota: they are written, and can be retried."""
    values: dict[str, Any] = {"next_fire_at": plan.next_fire_at}
    if plan.fires:
        values["last_fired_at"] = clock.now()
    if plan.reason is not None:
        values |= {"last_skipped_at": plan.skipped_at, "last_skipped_reason": plan.reason}
    if not schedules.advance(uow, schedule, values):
        return ()
    for fire in plan.fires:
        run_creation.create(uow, _new_run(schedule, fire))
    return step_journal.apply_quota(uow)


def _new_run(schedule: DueSchedule, fire: datetime) -> run_creation.NewRun:
    assert schedule.published_version_id is not None  # `_refusal` has checked it
    return run_creation.NewRun(
        target=run_creation.FlowRef(schedule.project_id, schedule.flow_id, schedule.published_version_id),
        values={
            **{name: getattr(schedule, name) for name in _CARRIED_OVER},
            "fail_parent_on_failure": False,
            "source": ids.encode(IdKind.SCHEDULE, schedule.id),
            "scheduled_for": fire,
        },
        trigger_method=TriggerMethod.SCHEDULE,
    )
