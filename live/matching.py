"""From a RunFilter to a predicate, which means the same runs as `db.runs.filter` does in SQL.

It is asked of a `RunSnapshot`: the run before an event, after it, or now. What an event and the row of its run, read
later, tell of the moments around the event is exact: a run that is not final has no end, no error and no duration, and
one that is final keeps its own. So a replay after a reconnect tells what was told before. Only how long a live run took
is a matter of when one looks: before the event it may have been any length up to the one at the event.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson

from db.core.sqlite import contains
from db.events.log import RUN_ARCHIVED, RUN_RECOVERED, RUN_STATUS, RUN_UNARCHIVED
from db.runs.filter import folded
from db.sql.rows import AnyRow
from domain import clock, ids
from domain.enums import RunStatus
from domain.run_filter import Archived, RunFilter
from domain.state_machine import FINAL, UNSUCCESSFUL

Predicate = Callable[["RunSnapshot"], bool]
_MILLISECOND = timedelta(milliseconds=1)


class RunSnapshot:
    """A run at some moment, as far as filters look at it. Columns that were not read are as if they were null."""

    __slots__ = (
        "_metadata",
        "archived",
        "at",
        "duration_ms",
        "error_fingerprint",
        "error_message",
        "failed_step_name",
        "finished_at",
        "is_past",
        "recovered",
        "row",
        "started_at",
        "status",
    )

    def __init__(self, row: AnyRow, at: datetime) -> None:
        """As `row` stands; how long a live run takes is counted until `at`."""
        known = row._asdict()  # to ask the row itself for a column that it lacks takes as long as all the rest
        self.row = row
        self.at = at
        self.is_past = False
        self.status: str | None = known.get("status")
        self.started_at: datetime | None = known.get("started_at")
        self.finished_at: datetime | None = known.get("finished_at")
        self.duration_ms: int | None = known.get("duration_ms")
        self.error_message: str | None = known.get("error_message")
        self.error_fingerprint: str | None = known.get("error_fingerprint")
        self.failed_step_name: str | None = known.get("failed_step_name")
        self.archived = known.get("archived_at") is not None
        self.recovered = known.get("recovered_by_id") is not None
        self._metadata: Any = None

    def set_status(self, status: str) -> None:
        """Make it the moment at which the run has `status`, which the row may have left since."""
        self.status = status
        # A retry is what recovers a run, and only a run that has ended is retried.
        self.recovered = False
        if status == RunStatus.QUEUED:
            self.started_at = None
        if status not in FINAL:
            self.finished_at = self.duration_ms = None
            self.error_message = self.error_fingerprint = self.failed_step_name = None

    @property
    def metadata(self) -> Any:
        """The run's metadata, parsed."""
        if self._metadata is None:
            self._metadata = orjson.loads(self.row.metadata)
        return self._metadata


def now(row: AnyRow) -> RunSnapshot:
    """The run as it stands."""
    return RunSnapshot(row, clock.now())


def after(event: AnyRow, row: AnyRow) -> RunSnapshot:
    """The run when `event` has happened to it; `row` was read later."""
    moment = _around(event, row)
    if event.kind == RUN_STATUS:
        moment.set_status(event.to_status)
    elif event.kind == RUN_RECOVERED:
        moment.recovered = True
    else:
        moment.archived = event.kind == RUN_ARCHIVED
    return moment


def before(event: AnyRow, row: AnyRow) -> RunSnapshot | None:
    """The run before `event` happened to it; None when the event is its creation."""
    moment = _around(event, row)
    moment.is_past = True
    if event.kind == RUN_STATUS:
        if event.from_status is None:
            return None
        moment.set_status(event.from_status)
    else:
        # When the run was recovered is not in its row: before this it may not have been.
        moment.recovered = False
        if event.kind != RUN_RECOVERED:
            moment.archived = event.kind == RUN_UNARCHIVED
    return moment


def _around(event: AnyRow, row: AnyRow) -> RunSnapshot:
    moment = RunSnapshot(row, event.at)
    if moment.archived and row.archived_at >= event.at:
        moment.archived = False  # that came later
    return moment


class CompiledFilter:
    """A filter, ready to be asked of many runs."""

    __slots__ = ("_clauses", "columns")

    def __init__(self, wanted: RunFilter) -> None:
        clauses = list(_clauses(wanted))
        self._clauses = tuple(predicate for _, predicate in clauses)
        self.columns = frozenset(column for columns, _ in clauses for column in columns.split())
        """Of `flow_run`, beside `id` and `project_id`: what must have been read."""

    def matches(self, moment: RunSnapshot) -> bool:
        """Whether the filter means the run at that moment; at a past one, whether it may have."""
        return all(clause(moment) for clause in self._clauses)


def hashable(wanted: RunFilter) -> RunFilter:
    """The same filter; equal ones have one hash, whatever kinds of sequences they were made of."""
    values = {each.name: getattr(wanted, each.name) for each in fields(wanted)}
    lists: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return replace(wanted, **lists)


_LISTED = {
    "project_ids": "project_id",
    "ids": "id",
    "flow_ids": "flow_id",
    "flow_version_ids": "flow_version_id",
    "environments": "environment",
    "trigger_methods": "trigger_method",
    "external_ids": "external_id",
}
_OF_ROW = {"parent_run_id": "parent_run_id", "retry_of_id": "retry_of_id"}
_OF_MOMENT = {"failed_step_name": "failed_step_name", "error_fingerprint": "error_fingerprint"}

_Clause = tuple[str, Predicate]
"""The columns that a predicate reads, and the predicate."""


def _clauses(wanted: RunFilter) -> Iterator[_Clause]:
    for name, column in _LISTED.items():
        if (values := getattr(wanted, name)) is not None:
            yield column, _one_of(attrgetter(f"row.{column}"), values)
    if wanted.statuses is not None:
        yield "status", _one_of(attrgetter("status"), wanted.statuses)
    for place, columns in (("row.", _OF_ROW), ("", _OF_MOMENT)):
        for name, column in columns.items():
            if (value := getattr(wanted, name)) is not None:
                yield f"{column} status", _one_of(attrgetter(place + column), (value,))
    yield from _times(wanted)
    yield from _durations(wanted)
    yield from _tags(wanted)
    yield from _flags(wanted)
    yield from _contents(wanted)


def _one_of(get: Callable[[RunSnapshot], Any], values: Any) -> Predicate:
    known = frozenset(values)
    return lambda moment: get(moment) in known


def _times(wanted: RunFilter) -> Iterator[_Clause]:
    if wanted.created_after is not None:
        yield "id", _not_below(ids.first_uuid_after(wanted.created_after))
    if wanted.created_before is not None:
        yield "id", _below(ids.first_uuid_at(wanted.created_before))
    for what in ("started", "finished"):
        column, get = f"{what}_at", attrgetter(f"{what}_at")
        if (earliest := getattr(wanted, f"{what}_after")) is not None:
            yield f"{column} status", _later(get, earliest)
        if (latest := getattr(wanted, f"{what}_before")) is not None:
            yield f"{column} status", _earlier(get, latest)


def _not_below(least: UUID) -> Predicate:
    return lambda moment: moment.row.id >= least


def _below(end: UUID) -> Predicate:
    return lambda moment: moment.row.id < end


def _later(get: Callable[[RunSnapshot], datetime | None], instant: datetime) -> Predicate:
    return lambda moment: (at := get(moment)) is not None and at > instant


def _earlier(get: Callable[[RunSnapshot], datetime | None], instant: datetime) -> Predicate:
    return lambda moment: (at := get(moment)) is not None and at < instant


def _durations(wanted: RunFilter) -> Iterator[_Clause]:
    columns = "duration_ms started_at status"
    if (least := wanted.min_duration_ms) is not None:
        yield columns, lambda moment: (took := _took(moment)) is not None and took >= least
    if (most := wanted.max_duration_ms) is not None:
        yield columns, lambda moment: _at_most(moment, most)


def _took(moment: RunSnapshot) -> int | None:
    if moment.duration_ms is not None or moment.started_at is None:
        return moment.duration_ms
    return (moment.at - moment.started_at) // _MILLISECOND


def _at_most(moment: RunSnapshot, most: int) -> bool:
    took = _took(moment)
    if took is None:
        return False
    # A live run had every length from nothing on.
    return (0 if moment.is_past and moment.duration_ms is None else took) <= most


def _tags(wanted: RunFilter) -> Iterator[_Clause]:
    if wanted.tags is not None:
        all_of = frozenset(wanted.tags)
        yield "tags", lambda moment: bool(all_of) and all_of.issubset(moment.row.tags)
    if wanted.any_tags is not None:
        any_of = frozenset(wanted.any_tags)
        yield "tags", lambda moment: not any_of.isdisjoint(moment.row.tags)


def _flags(wanted: RunFilter) -> Iterator[_Clause]:
    if wanted.roots_only:
        yield "parent_run_id", lambda moment: moment.row.parent_run_id is None
    if wanted.unrecovered:
        yield "status recovered_by_id", lambda moment: moment.status in UNSUCCESSFUL and not moment.recovered
    if wanted.archived is not Archived.INCLUDE:
        is_meant = wanted.archived is Archived.ONLY
        yield "archived_at", lambda moment: moment.archived is is_meant


def _contents(wanted: RunFilter) -> Iterator[_Clause]:
    if wanted.error_contains is not None:
        part = folded(wanted.error_contains)
        yield (
            "error_message status",
            lambda moment: moment.error_message is not None and part in folded(moment.error_message),
        )
    if wanted.metadata is not None:
        probe = orjson.loads(wanted.metadata)
        yield "metadata", lambda moment: contains(moment.metadata, probe)
