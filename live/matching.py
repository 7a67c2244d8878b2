"""Compiles a RunFilter into a predicate that matches the same runs as `db.runs.filter` does in SQL.

The predicate is asked about a `RunSnapshot`: a run before an event, after it, or now. Snapshots around an event are built
from the event and from the run's row, which may have been read later. They are exact: a run that is not final has no
end, no error and no duration, and a final run keeps its own. So a replay after a reconnect delivers the same events as
the live stream. One thing depends on when one looks: how long a live run has lasted. Before an event, that may have been
any length up to the one at the event.
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
from domain.enums import FINAL, UNSUCCESSFUL, RunStatus
from domain.run_filter import Archived, RunFilter

Predicate = Callable[["RunSnapshot"], bool]
_MILLISECOND = timedelta(milliseconds=1)


class RunSnapshot:
    """A run at an instant, as far as filters look at it. Columns that were not read look as if they were null."""

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
        """The run as in `row`. A live run has lasted until `at`."""
        values = row._asdict()  # asking the row itself for a column that it lacks takes as long as all the rest
        self.row = row
        self.at = at
        self.is_past = False
        self.status: str | None = values.get("status")
        self.started_at: datetime | None = values.get("started_at")
        self.finished_at: datetime | None = values.get("finished_at")
        self.duration_ms: int | None = values.get("duration_ms")
        self.error_message: str | None = values.get("error_message")
        self.error_fingerprint: str | None = values.get("error_fingerprint")
        self.failed_step_name: str | None = values.get("failed_step_name")
        self.archived = values.get("archived_at") is not None
        self.recovered = values.get("recovered_by_id") is not None
        self._metadata: Any = None

    def set_status(self, status: str) -> None:
        """Change this to the run when it had `status`, which it may have left since."""
        self.status = status
        # Only a run that has ended can be retried, and only a retry recovers a run.
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


def snapshot_now(row: AnyRow) -> RunSnapshot:
    """Return the run as it is now."""
    return RunSnapshot(row, clock.now())


def snapshot_after(event: AnyRow, row: AnyRow) -> RunSnapshot:
    """Return the run right after `event`; `row` was read then or later."""
    snapshot = _snapshot_at(event, row)
    if event.kind == RUN_STATUS:
        snapshot.set_status(event.to_status)
    elif event.kind == RUN_RECOVERED:
        snapshot.recovered = True
    else:
        snapshot.archived = event.kind == RUN_ARCHIVED
    return snapshot


def snapshot_before(event: AnyRow, row: AnyRow) -> RunSnapshot | None:
    """Return the run right before `event`; None if the event is the run's creation."""
    snapshot = _snapshot_at(event, row)
    snapshot.is_past = True
    if event.kind == RUN_STATUS:
        if event.from_status is None:
            return None
        snapshot.set_status(event.from_status)
    else:
        # The row does not say when the run was recovered: before this event it may not have been.
        snapshot.recovered = False
        if event.kind != RUN_RECOVERED:
            snapshot.archived = event.kind == RUN_UNARCHIVED
    return snapshot


def _snapshot_at(event: AnyRow, row: AnyRow) -> RunSnapshot:
    snapshot = RunSnapshot(row, event.at)
    if snapshot.archived and row.archived_at >= event.at:
        snapshot.archived = False  # it was archived later
    return snapshot


class CompiledFilter:
    """A filter as a predicate, compiled once and asked about many runs."""

    __slots__ = ("_clauses", "columns")

    def __init__(self, run_filter: RunFilter) -> None:
        clauses = list(_clauses(run_filter))
        self._clauses = tuple(predicate for _, predicate in clauses)
        self.columns = frozenset(column for columns, _ in clauses for column in columns.split())
        """Columns of `flow_run` that `matches` reads, besides `id` and `project_id`."""

    def matches(self, snapshot: RunSnapshot) -> bool:
        """Whether the filter matches the run; for a snapshot of the past, whether it may have."""
        return all(clause(snapshot) for clause in self._clauses)


def hashable(run_filter: RunFilter) -> RunFilter:
    """Return the same filter with tuples for lists, so that equal filters are equal and have equal hashes."""
    values = {field.name: getattr(run_filter, field.name) for field in fields(run_filter)}
    tuples: dict[str, Any] = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return replace(run_filter, **tuples)


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
