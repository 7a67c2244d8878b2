"""Decides from the columns of a live run what it waits for."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.enums import RunStatus, WaitKind


class WaitingRun(Protocol):
    """The columns of a run that decide what it waits for."""

    @property
    def status(self) -> str: ...

    @property
    def due_at(self) -> datetime | None: ...

    @property
    def project_id(self) -> UUID: ...

    @property
    def flow_id(self) -> UUID: ...

    @property
    def blocked_by(self) -> UUID | None: ...

    @property
    def waits_for(self) -> str | None: ...

    @property
    def lease_token(self) -> UUID | None: ...


COLUMNS = ("status", "project_id", "flow_id", "due_at", "blocked_by", "waits_for", "lease_token")
"""The columns of a `WaitingRun`."""


def wait_kind(run: WaitingRun, now: datetime) -> WaitKind | None:
    """Returns what a run waits for; None if it has ended, or a worker executes it.

    `db.runs.waits.waiting.waits_for_any` and `db.row_json.computed.WAIT_KIND` are the same rule in SQL.
    """
    if run.blocked_by is not None:
        # The queue of a limit has the ID of its flow or project, that of a hold the ID of the hold.
        return WaitKind.SLOT if run.blocked_by in (run.flow_id, run.project_id) else WaitKind.RELEASE
    if run.due_at is not None and run.due_at <= now:
        return WaitKind.WORKER
    match run.status:
        case RunStatus.PAUSED:
            return WaitKind(run.waits_for or WaitKind.TIME)
        case RunStatus.QUEUED:
            return WaitKind.TIME
        case RunStatus.RUNNING if run.lease_token is None:
            return WaitKind.RETRY
    return None
