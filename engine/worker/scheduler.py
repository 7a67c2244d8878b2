"""Starts the runs of schedules.

A schedule is due when its `next_fire_at` has passed. A guarded UPDATE advances it in the transaction that creates the
runs: exactly one of many workers starts each run, and a worker that is lost has started all runs of a fire time or
none. A scheduled run that no worker started within one minute counts as missed; the schedule's `missedFires` decides
what happens to it. Its `overlap` decides what happens while an earlier run is live. The clock may jump: `next_fire_at`
only grows, so a time that occurs twice fires once.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any, NamedTuple
from uuid import UUID

from db import schedules
from db.core import pubsub
from db.core.database import UNREADABLE, Database
from db.core.unit_of_work import UnitOfWork
from db.runs import cancellation
from db.schedules import DueSchedule
from domain import ids, json_codec
from domain.actor import Actor, ActorKind
from domain.enums import MissedFires, ScheduleOverlap, SkipReason, TriggerMethod
from domain.errors import InputInvalidError, InputTooLargeError
from domain.ids import IdKind
from domain.time import clock
from domain.time.cron import CronSchedule, get_zone
from engine import run_creation
from engine.compiled_flow import FlowCache
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

ON_TIME = timedelta(minutes=1)
"""Time after which a fire time without a started run counts as missed."""
MAX_CATCH_UP = 100
"""Largest number of runs that one schedule starts at once for missed fire times."""
INTERVAL_SECONDS = 5.0
"""Longest time between two reads of due schedules, in seconds: another process may have changed a schedule."""
_BATCH = 100
"""Schedules read at once."""
_COPIED_COLUMNS = ("environment", "tags", "metadata")


@dataclass(frozen=True, slots=True)
class _FirePlan:
    """The decision for a due schedule: which runs to start, and when to fire next."""

    fire_times: Sequence[datetime]
    """Fire times for which runs are started, oldest first."""
    next_fire_at: datetime | None
    """The next fire time; None: the schedule never fires again."""
    skipped_at: datetime | None = None
    """The latest fire time for which no run is started, if a reason is recorded."""
    reason: SkipReason | None = None


class _Fired(NamedTuple):
    """The result of firing a due schedule."""

    plan: _FirePlan | None = None
    """The plan that was executed; None if another worker fired the schedule."""
    beyond_quota: Collection[UUID] = ()
    """The runs that exceed the project's quota."""


class Scheduler(BackgroundService):
    """Starts the runs of all schedules of one database. Any number of processes may run one."""

    def __init__(self, database: Database, flows: FlowCache) -> None:
        super().__init__("scheduler", INTERVAL_SECONDS, database.pubsub, pubsub.SCHEDULES_CHANGED)
        self._database = database
        self._flows = flows

    async def work(self) -> float:
        """Starts the runs that are due; returns the seconds until the next fire time."""
        await self.fire_due()
        next_at = await self._database.read(schedules.next_fire)
        return self.interval if next_at is None else (next_at - clock.now()).total_seconds()

    async def fire_due(self) -> None:
        """Starts the runs of all schedules that are due now."""
        while True:
            due = await self._database.read(schedules.due, clock.now(), _BATCH)
            for schedule in due:
                await self._fire(schedule)
            if len(due) < _BATCH or self.is_stopping:
                return

    async def _fire(self, schedule: DueSchedule) -> None:
        plan = _plan_fires(schedule, clock.now())
        input_text, reason = await self._run_input(schedule)
        if plan.fire_times and reason is not None:
            plan = _FirePlan((), plan.next_fire_at, plan.fire_times[-1], reason)
        shown_id = ids.encode(IdKind.SCHEDULE, schedule.id)
        fired = await self._database.write(_start_runs, schedule, plan, input_text)
        if fired.plan is not None and fired.plan.reason is not None:
            fields = {"schedule_id": shown_id, "fire_time": fired.plan.skipped_at, "reason": fired.plan.reason.value}
            _logger.warning("scheduled run skipped", extra=fields)
        for run_id in fired.beyond_quota:
            fields = {"schedule_id": shown_id, "run_id": ids.encode(IdKind.RUN, run_id)}
            _logger.warning("scheduled run exceeds the quota", extra=fields)

    async def _run_input(self, schedule: DueSchedule) -> tuple[str, SkipReason | None]:
        """Returns the JSON text of the input of the runs, and why the flow cannot be started now; None if it can."""
        if not schedule.flow_enabled:
            return schedule.input, SkipReason.FLOW_DISABLED
        if schedule.published_version_id is None:
            return schedule.input, SkipReason.FLOW_NOT_PUBLISHED
        try:
            flow = await self._flows.get(schedule.published_version_id)
            given = json_codec.decode(schedule.input)
            accepted = flow.accept_input(given)
            if accepted is given:
                return schedule.input, None
            return json_codec.encode(accepted, limit=json_codec.MAX_INPUT_BYTES, what="input"), None
        except (InputInvalidError, InputTooLargeError):
            return schedule.input, SkipReason.INPUT_INVALID
        except UNREADABLE:
            raise
        except Exception:
            # One broken schedule must not block the others.
            _logger.exception(
                "scheduled flow unusable", extra={"schedule_id": ids.encode(IdKind.SCHEDULE, schedule.id)}
            )
            return schedule.input, SkipReason.INTERNAL_ERROR


def _plan_fires(schedule: DueSchedule, now: datetime) -> _FirePlan:
    try:
        cron = CronSchedule(schedule.cron, get_zone(schedule.time_zone))
    except ValueError:
        return _FirePlan((), None, schedule.next_fire_at, SkipReason.SCHEDULE_INVALID)
    first_due = schedule.next_fire_at
    assert first_due is not None  # The schedule is due.
    later = takewhile(lambda at: at > first_due, cron.until(now))
    # The announced fire time, and the latest ones that have passed since, latest first.
    passed = [*islice(later, MAX_CATCH_UP), first_due]
    fire_times = _select_fire_times(MissedFires(schedule.missed_fires), passed, now)
    dropped = [] if schedule.missed_fires == MissedFires.FIRE_ONCE else [at for at in passed if at not in fire_times]
    missed = (dropped[0], SkipReason.MISSED) if dropped else (None, None)
    return _FirePlan(fire_times[::-1], cron.after(now), *missed)


def _select_fire_times(policy: MissedFires, passed: Sequence[datetime], now: datetime) -> Sequence[datetime]:
    """Returns the missed fire times for which runs are started, latest first."""
    on_time = [at for at in passed if now - at <= ON_TIME]
    if policy is MissedFires.FIRE_ALL:
        return passed[:MAX_CATCH_UP]
    if policy is MissedFires.FIRE_ONCE:
        return on_time or passed[:1]
    return on_time


def _start_runs(uow: UnitOfWork, schedule: DueSchedule, plan: _FirePlan, input_text: str) -> _Fired:
    """Advances the schedule and creates its runs, unless another worker has done so.

    Runs that exceed the project's quota are created, too, and can be retried.
    """
    overlap = ScheduleOverlap(schedule.overlap)
    asks = bool(plan.fire_times) and overlap is not ScheduleOverlap.QUEUE
    live = schedules.live_runs(uow.conn, schedule) if asks else ()
    plan = _without_overlap(plan, overlap, has_live_run=bool(live))
    values: dict[str, Any] = {"next_fire_at": plan.next_fire_at}
    if plan.fire_times:
        values["last_fired_at"] = clock.now()
    if plan.reason is not None:
        values |= {"last_skipped_at": plan.skipped_at, "last_skipped_reason": plan.reason}
    if not schedules.advance(uow, schedule, values):
        return _Fired()
    if overlap is ScheduleOverlap.CANCEL_PREVIOUS:
        cancellation.stop_all(uow, live, "Cancelled: the schedule starts its next run", _actor(schedule))
    for fire_time in plan.fire_times:
        run_creation.create(uow, _new_run(schedule, fire_time, input_text))
    return _Fired(plan, cancellation.apply_quota(uow))


def _without_overlap(plan: _FirePlan, overlap: ScheduleOverlap, *, has_live_run: bool) -> _FirePlan:
    """Returns `plan` with the fire times for which the schedule's `overlap` lets runs start.

    Of several missed fire times, the first run overlaps with the others: SKIP starts only its run. CANCEL_PREVIOUS
    starts only the last run, which would cancel the others.
    """
    if overlap is ScheduleOverlap.QUEUE:
        return plan
    skips = overlap is ScheduleOverlap.SKIP
    fire_times = plan.fire_times[: 0 if has_live_run else 1] if skips else plan.fire_times[-1:]
    dropped = [at for at in plan.fire_times if at not in fire_times]
    if not dropped:
        return plan
    return _FirePlan(fire_times, plan.next_fire_at, dropped[-1], SkipReason.OVERLAP)


def _new_run(schedule: DueSchedule, fire_time: datetime, input_text: str) -> run_creation.NewRun:
    assert schedule.published_version_id is not None  # `_run_input` has checked this.
    return run_creation.NewRun(
        target=run_creation.FlowRef(schedule.project_id, schedule.flow_id, schedule.published_version_id),
        values={
            **{name: getattr(schedule, name) for name in _COPIED_COLUMNS},
            "input": input_text,
            "fail_parent_on_failure": False,
            "source": ids.encode(IdKind.SCHEDULE, schedule.id),
            "scheduled_for": fire_time,
        },
        trigger_method=TriggerMethod.SCHEDULE,
        started_by=_actor(schedule),
    )


def _actor(schedule: DueSchedule) -> Actor:
    return Actor(ActorKind.SCHEDULE, schedule.id, schedule.name)
