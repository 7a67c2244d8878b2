"""Snapshots of runs: a run before an event, after it, or now, as `live.predicates` matches it against a filter.

Snapshots around an event are built from the event and from the run's row, which may have been read later. They are
exact: a run that is not final has no end, no error and no duration, and a final run keeps its own. So a replay after a
reconnect delivers the same events as the live stream. Some values depend on the instant: how long a live run has
lasted, and how long ago something was. For an instant before the event they are ranges: a run may have lasted any time
up to the one at the event, and its last change was at an unknown time since its creation. The same holds when a run was
archived and has been recovered since. Tags and metadata are exact around a change of them; elsewhere they are those of
the row. A text that is searched for is found if the run has it when the row is read.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import orjson

from db.events.log import RUN_ARCHIVED, RUN_CHANGED, RUN_ERASED, RUN_RECOVERED, RUN_STATUS, RUN_UNARCHIVED
from db.row_types import EventRow, RunRow
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import RunStatus, WaitKind
from domain.runs.state_machine import FINAL
from domain.runs.wait import wait_kind
from domain.time import clock

_ARCHIVE_KINDS = (RUN_ARCHIVED, RUN_UNARCHIVED)
"""Events that do not count as a change of the run."""


class RunSnapshot:
    """A run at an instant, with the columns that filters read. Columns that were not read appear as null."""

    __slots__ = (
        "_metadata",
        "archived",
        "at",
        "duration_ms",
        "error_fingerprint",
        "error_message",
        "failed_step_name",
        "finished_at",
        "found_texts",
        "is_past",
        "may_be_recovered",
        "recovered",
        "row",
        "started_at",
        "status",
        "tags",
        "updated_at",
        "updated_from",
    )

    def __init__(self, row: RunRow, at: datetime) -> None:
        """Creates the snapshot of `row` at the instant `at`, until which a live run has lasted."""
        # Asking the row itself for a missing column would take as long as all the rest.
        values = cast("AnyRow", row)._asdict()
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
        self.tags: list[str] | None = values.get("tags")
        self.found_texts: Sequence[str] = values.get("found_texts") or ()
        """Those of the texts that were searched for which inputs, outputs and logs contain, when the row was read."""
        self.archived = values.get("archived_at") is not None
        self.recovered = self.may_be_recovered = values.get("recovered_by_id") is not None
        self.updated_at: datetime = values.get("updated_at") or at
        """The time of the last change at `at`; in the past, the latest time at which it may have been."""
        self.updated_from = self.updated_at
        """Like `updated_at`; in the past, the earliest time at which it may have been."""
        self._metadata: Any = None

    def set_status(self, status: str) -> None:
        """Changes this to the run when it had `status`. The row may have another status by now."""
        self.status = status
        # Only a run that has ended can be retried, and only a retry recovers a run.
        self.recovered = self.may_be_recovered = False
        if status == RunStatus.QUEUED:
            self.started_at = None
        if status not in FINAL:
            self.finished_at = self.duration_ms = None
            self.error_message = self.error_fingerprint = self.failed_step_name = None

    def set_changed(self, event: EventRow, *, after: bool) -> None:
        """Changes this to the run before or after `event`, a change of its tags or metadata."""
        assert event.to_status is not None  # Every such event has a status, also below.
        assert event.data is not None
        if event.to_status not in FINAL:
            self.set_status(event.to_status)
        changed = orjson.loads(event.data)
        if "tags" in changed:
            self.tags = changed["tags"][after]
        if "metadata" in changed:
            self._metadata = orjson.loads(changed["metadata"][after])

    def set_present_values(self) -> None:
        """Sets the tags and the metadata to those of the row, which may have changed since the event."""
        self.tags = cast("AnyRow", self.row)._asdict().get("tags")
        self._metadata = None

    @property
    def waiting_for(self) -> WaitKind | None:
        """Returns what the run waits for. If its row has changed since, the row's data about its last pause decide."""
        if self.status == self.row.status:
            return wait_kind(self.row, self.at)
        match self.status:
            case RunStatus.QUEUED:
                return WaitKind.WORKER
            case RunStatus.PAUSED:
                return WaitKind(self.row.waits_for or WaitKind.TIME)
        return None

    @property
    def metadata(self) -> Any:
        """The run's metadata, parsed."""
        if self._metadata is None:
            self._metadata = orjson.loads(self.row.metadata)
        return self._metadata


def snapshot_now(row: RunRow) -> RunSnapshot:
    """Returns the run as it is now."""
    return RunSnapshot(row, clock.now())


def snapshot_after(event: EventRow, row: RunRow) -> RunSnapshot:
    """Returns the run right after `event`; `row` was read then or later."""
    snapshot = _snapshot_at(event, row)
    if event.kind == RUN_STATUS:
        assert event.to_status is not None  # Every status change has a status.
        snapshot.set_status(event.to_status)
    elif event.kind == RUN_RECOVERED:
        snapshot.recovered = snapshot.may_be_recovered = True
    elif event.kind == RUN_CHANGED:
        snapshot.set_changed(event, after=True)
    elif event.kind != RUN_ERASED:
        snapshot.archived = event.kind == RUN_ARCHIVED
    return snapshot


def snapshot_before(event: EventRow, row: RunRow) -> RunSnapshot | None:
    """Returns the run right before `event`; None if the event is the run's creation."""
    snapshot = _snapshot_at(event, row)
    snapshot.is_past = True
    if event.kind not in _ARCHIVE_KINDS:
        snapshot.updated_from = ids.created_at(row.id)
    if event.kind == RUN_STATUS:
        if event.from_status is None:
            return None
        snapshot.set_status(event.from_status)
    else:
        # The row does not have the time of recovery: before this event the run may not have been recovered.
        snapshot.recovered = False
        if event.kind == RUN_RECOVERED:
            snapshot.may_be_recovered = False
        elif event.kind == RUN_CHANGED:
            snapshot.set_changed(event, after=False)
        else:
            snapshot.archived = event.kind == RUN_UNARCHIVED
    return snapshot


def _snapshot_at(event: EventRow, row: RunRow) -> RunSnapshot:
    snapshot = RunSnapshot(row, event.at)
    if event.kind not in _ARCHIVE_KINDS:
        snapshot.updated_at = snapshot.updated_from = event.at
    elif snapshot.updated_at > event.at:  # The run was recovered later.
        snapshot.updated_at, snapshot.updated_from = event.at, ids.created_at(row.id)
    if snapshot.archived and (row.archived_at is None or row.archived_at >= event.at):
        snapshot.archived = False  # The run was archived later.
    return snapshot
