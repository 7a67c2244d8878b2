"""Assembles the database. Lists the before-commit steps of a unit of work, in lock order."""

from db.core.database import POOL_SIZE, Database
from db.core.traced import TracedDatabase
from db.core.unit_of_work import CommitSteps
from db.events import log as event_log
from db.queue import slots
from db.runs import cancellation, indexes

COMMIT_STEPS = CommitSteps(
    of_unit=(
        cancellation.apply_quota,  # This may wait for the row of a quota, and ends the runs beyond the quota.
        indexes.update,  # SQLite only: takes no lock.
        slots.promote_waiting,  # This takes the lock on slots, which must be the last that a transaction waits for.
    ),
    append_events=event_log.write,  # This takes the numbers of the events while the transaction holds all its locks.
)
"""Charges quotas, indexes runs, promotes waiting runs, and appends the events of all units of the transaction."""


def open_database(
    url: str, *, pool_size: int = POOL_SIZE, query_timeout: float | None = None, is_traced: bool = False
) -> Database:
    """Opens the database at `url` (`sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`).

    `query_timeout` is the time limit of reads in seconds; None: no limit. With `is_traced`, statements are spans of the
    traces that are recorded.
    """
    kind = TracedDatabase if is_traced else Database
    return kind(url, COMMIT_STEPS, pool_size=pool_size, query_timeout=query_timeout)
