"""Runs before an event, after it, or now, as `live.predicates` match them against a filter.

What an event and the row of its run, read
later, tell of the moments around the event is exact: a run that is not final has no end, no error and no duration, and
one that is final keeps its own. So a replay after a reconnect tells what was told before. Only how long a live run took
is a matter of when one looks: before the event it may have been any length up to the one at the event.
"""

from datetime import datetime
from typing import Any

import orjson

from db.events.log import RUN_ARCHIVED, RUN_RECOVERED, RUN_STATUS, RUN_UNARCHIVED
from db.sql.rows import AnyRow
from domain import clock
from domain.enums import RunStatus
from domain.state_machine import FINAL


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
