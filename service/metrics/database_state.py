"""The part of the metrics that is read from the database, the same in every process."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from db import flows, projects
from db.bulk import reads as bulk_reads
from db.bulk.reads import Progress
from db.core.database import UNREADABLE, Database
from db.deliveries import queue as delivery_queue
from db.deliveries.queue import Backlog
from db.events import log as event_log
from db.queue import load
from db.queue.load import QueueLoad
from db.rollups import answers
from db.rollups.levels import FLOW
from domain.runs.run_filter import RunFilter
from domain.time import clock
from service.metrics.operations import OTHER

MAX_AGE_SECONDS = 5.0
"""Seconds for which a state is used again: whoever reads the metrics more often does not load the database more."""
MAX_FLOWS = 100
"""Flows whose runs are told apart, those with most runs."""


class RunCount(NamedTuple):
    """The number of runs of a flow with one status."""

    project: str
    flow: str
    status: str
    runs: int


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What the metrics show of the database."""

    queue: QueueLoad
    bulk: Sequence[Progress]
    deliveries: Backlog
    newest_position: int
    """Of the event log."""
    runs: Sequence[RunCount]
    """Empty while old runs are being counted."""


class StateReader:
    """Reads the state, once for all callers that come at the same time or soon after."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.max_age = MAX_AGE_SECONDS
        """Seconds for which a state is used again."""
        self._lock = asyncio.Lock()
        self._state: DatabaseState | None = None
        self._read_at = float("-inf")

    async def state(self) -> DatabaseState | None:
        """Returns the state, at most `max_age` seconds old; None if the database does not answer."""
        async with self._lock:
            if time.monotonic() - self._read_at > self.max_age:
                try:
                    self._state = await self._database.read(_read)
                except UNREADABLE:
                    self._state = None
                self._read_at = time.monotonic()
            return self._state


def _read(conn: Connection) -> DatabaseState:
    return DatabaseState(
        load.read(conn),
        bulk_reads.progress(conn),
        delivery_queue.backlog(conn),
        event_log.newest(conn),
        _run_counts(conn),
    )


def _run_counts(conn: Connection) -> Sequence[RunCount]:
    counts = answers.counts_by_group(conn, RunFilter(), clock.now(), FLOW) or {}
    largest = sorted(counts, key=lambda flow_id: (-sum(counts[flow_id].values()), flow_id))[:MAX_FLOWS]
    found = flows.by_ids(conn, largest, {"name", "project_id"})
    owners = projects.by_ids(conn, sorted({row.project_id for row in found.values()}), {"name"})
    named = [
        RunCount(owners[row.project_id].name, row.name, status, runs)
        for flow_id in largest
        if (row := found.get(flow_id)) is not None
        for status, runs in sorted(counts[flow_id].items())
    ]
    return [*named, *(RunCount("", OTHER, status, runs) for status, runs in _rest(counts, largest))]


def _rest(counts: Mapping[UUID, Mapping[str, int]], named: Sequence[UUID]) -> Sequence[tuple[str, int]]:
    rest: Counter[str] = Counter()
    for flow_id in counts.keys() - set(named):
        rest.update(counts[flow_id])
    return sorted(rest.items())
