"""Finds the events that alerts count, as the relay reads the event log, and the runs and schedules that are late."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Protocol
from uuid import UUID

from db.alerts import samples
from db.core.database import Database
from db.events import log as event_log
from db.events.log import NeededOfRuns
from db.outbound_row_types import AlertRow
from db.row_types import EventRow, RunRow
from domain.enums import RunStatus
from domain.outbound.alert import DEFAULT_THRESHOLDS, FAILURES, MIN_SAMPLES, AlertCondition, Hit
from domain.time import clock
from engine.alerts.planned_run import planned_run

USUAL_FOR = timedelta(minutes=5)
"""How long the usual duration of a flow is used again."""
MAX_FLOWS = 1_000
"""Flows whose usual durations are kept in memory."""
_PERCENTILE = 95
_READ = NeededOfRuns(frozenset({"status", "flow_id", "error_fingerprint", "duration_ms"}))
"""What conditions read of runs."""
_FAILED = frozenset({AlertCondition.FAILURE, AlertCondition.NEW_ERROR, AlertCondition.CONSECUTIVE_FAILURES})
"""Conditions that failures meet."""
_SUCCEEDED = frozenset({AlertCondition.CONSECUTIVE_FAILURES, AlertCondition.SLOW})
"""Conditions that read successes."""


class RunPredicate(Protocol):
    """The filter of an alert in the form in which runs are matched against it."""

    @property
    def needed(self) -> NeededOfRuns:
        """What it reads of runs."""
        ...

    def matches(self, event: EventRow, run: RunRow) -> bool:
        """True if the run matches the filter after the event."""
        ...

    def matches_run(self, run: RunRow, at: datetime) -> bool:
        """True if the run matches the filter as it is now, the instant `at`."""
        ...


@dataclass(slots=True)
class _Usual:
    """The usual duration of a flow."""

    computed_at: datetime
    ms: int | None
    """In milliseconds; None: there are too few successful runs."""
    missing: int
    """Successful runs until the duration is known."""

    def is_valid(self, now: datetime) -> bool:
        """True if the duration need not be computed again."""
        return self.computed_at > now - USUAL_FOR if self.ms is not None else self.missing > 1


class _Watch:
    """An alert with its filter."""

    __slots__ = ("condition", "predicate", "row", "threshold")

    def __init__(self, row: AlertRow, predicate: RunPredicate) -> None:
        self.row = row
        self.predicate = predicate
        self.condition = AlertCondition(row.condition)
        self.threshold = row.threshold or DEFAULT_THRESHOLDS.get(self.condition)

    def hit(self, group: str, run: RunRow, at: datetime, *, ends_row: bool = False) -> Hit:
        return self._hit(group, run.flow_id, run.id, at, ends_row=ends_row)

    def late_schedule(self, flow_id: UUID, at: datetime) -> Hit:
        """Counts a schedule of a flow. It has no run: that is what the message is about."""
        return self._hit(f"{flow_id} SCHEDULE", flow_id, None, at)

    def _hit(self, group: str, flow_id: UUID, run_id: UUID | None, at: datetime, *, ends_row: bool = False) -> Hit:
        alert = self.row
        return Hit(alert.id, alert.project_id, self.condition, self.threshold, group, flow_id, run_id, at, ends_row)


class AlertMatcher:
    """The alerts of all projects. Belongs to one relay."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watches: Mapping[UUID, Sequence[_Watch]] = {}
        """The alerts of each project."""
        self._usual: dict[UUID, _Usual] = {}
        """By flow."""
        self.needed = event_log.NOTHING
        """What matching reads of runs."""

    @property
    def is_empty(self) -> bool:
        """True if there is no alert."""
        return not self._watches

    def load(self, rows: Iterable[AlertRow], compile_filter: Callable[[AlertRow], RunPredicate | None]) -> None:
        """Replaces the alerts. `compile_filter` returns None for an alert whose filter is not understood."""
        watches: dict[UUID, list[_Watch]] = {}
        for row in rows:
            if (predicate := compile_filter(row)) is not None:
                watches.setdefault(row.project_id, []).append(_Watch(row, predicate))
        self._watches = watches
        needed = (watch.predicate.needed for group in watches.values() for watch in group)
        self.needed = reduce(or_, needed, _READ) if watches else event_log.NOTHING

    async def hits(self, events: Iterable[EventRow], runs: Mapping[UUID, RunRow]) -> list[Hit]:
        """Returns what alerts count of events, in their order."""
        found: list[Hit] = []
        for event, run in _ends(events, runs):
            for watch in self._watches.get(event.project_id, ()):
                matches = event.seq > watch.row.after_seq and watch.predicate.matches(event, run)
                if matches and (hit := await self._hit(watch, event, run)) is not None:
                    found.append(hit)
        return found

    async def _hit(self, watch: _Watch, event: EventRow, run: RunRow) -> Hit | None:
        has_failed = event.to_status in FAILURES
        if has_failed and watch.condition in _FAILED:
            return self._failure(watch, event, run)
        if event.to_status != RunStatus.SUCCEEDED or watch.condition not in _SUCCEEDED:
            return None
        if watch.condition is AlertCondition.CONSECUTIVE_FAILURES:
            return watch.hit(str(run.flow_id), run, event.at, ends_row=True)
        return watch.hit(str(run.flow_id), run, event.at) if await self._is_slow(watch, run) else None

    def _failure(self, watch: _Watch, event: EventRow, run: RunRow) -> Hit | None:
        match watch.condition:
            case AlertCondition.CONSECUTIVE_FAILURES:
                return watch.hit(str(run.flow_id), run, event.at)
            case AlertCondition.NEW_ERROR:
                return watch.hit(run.error_fingerprint, run, event.at) if run.error_fingerprint else None
            case _:
                return watch.hit(run.error_fingerprint or f"{run.flow_id} {event.to_status}", run, event.at)

    async def _is_slow(self, watch: _Watch, run: RunRow) -> bool:
        usual = await self._usual_ms(run)
        if usual is None or run.duration_ms is None or watch.threshold is None:
            return False
        return run.duration_ms * 100 >= usual * watch.threshold

    async def _usual_ms(self, run: RunRow) -> int | None:
        """Returns the 95th percentile of the durations of a flow's runs before this one; None: there are too few."""
        now = clock.now()
        known = self._usual.get(run.flow_id)
        if known is not None and known.is_valid(now):
            known.missing -= 1
            return known.ms
        found = sorted(await self._database.read(samples.durations, run.flow_id, run.id))
        usual = found[-(-len(found) * _PERCENTILE // 100) - 1] if len(found) >= MIN_SAMPLES else None
        if len(self._usual) >= MAX_FLOWS:
            self._usual.clear()
        self._usual[run.flow_id] = _Usual(now, usual, MIN_SAMPLES - len(found))
        return usual

    async def late(self, after: datetime, until: datetime, limit: int) -> list[Hit]:
        """Returns the runs and the schedules that have become late between two instants: at most `limit` of each for
        each alert."""
        found: list[Hit] = []
        for watch in (watch for group in self._watches.values() for watch in group):
            if watch.condition is not AlertCondition.LATE or watch.threshold is None:
                continue
            late_by = timedelta(milliseconds=watch.threshold)
            window = (max(after, watch.row.created_at) - late_by, until - late_by)
            needed = watch.predicate.needed | _READ
            runs = await self._database.read(samples.overdue, watch.row.project_id, *window, needed, limit)
            found += [
                watch.hit(str(run.flow_id), run, until) for run in runs if watch.predicate.matches_run(run, until)
            ]
            schedules = await self._database.read(samples.overdue_schedules, watch.row.project_id, *window, limit)
            found += [
                watch.late_schedule(schedule.flow_id, until)
                for schedule in schedules
                if watch.predicate.matches_run(planned_run(schedule, needed.columns, until), until)
            ]
        return found

    @property
    def has_late(self) -> bool:
        """True if an alert waits for late runs."""
        watches = (watch for group in self._watches.values() for watch in group)
        return any(watch.condition is AlertCondition.LATE for watch in watches)


def _ends(events: Iterable[EventRow], runs: Mapping[UUID, RunRow]) -> Iterator[tuple[EventRow, RunRow]]:
    """Yields the events by which runs ended, with the runs."""
    for event in events:
        has_ended = event.kind == event_log.RUN_STATUS and event.to_status is not None
        if has_ended and event.run_id is not None and (run := runs.get(event.run_id)) is not None:
            yield event, run
