"""Assembles the database: the one place where the before-commit steps of a unit of work are listed, in lock order."""

from db.core.database import POOL_SIZE, Database
from db.core.traced import TracedDatabase
from db.core.unit_of_work import CommitSteps
from db.events import log as event_log
from db.queue import slots
from db.runs import cancellation

COMMIT_STEPS = CommitSteps(
    of_unit=(
        cancellation.apply_quota,  # may wait for the row of a quota, and ends the runs beyond it
        slots.promote_waiting,  # takes the lock on slots, which must be the last that a transaction waits for
    ),
    append_events=event_log.write,  # takes the numbers of the events while the transaction holds all its locks
)
"""Charge quotas, promote waiting runs, append the events of all units of the transaction."""


def open_database(
    url: str, *, pool_size: int = POOL_SIZE, query_timeout: float | None = None, is_traced: bool = False
) -> Database:
    """Opens the database at `url` (`sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`).

    `query_timeout` is the time limit of reads in seconds; None: they have none. With `is_traced`, statements are
    spans of the traces that are recorded.
    """
    kind = TracedDatabase if is_traced else Database
    return kind(url, COMMIT_STEPS, pool_size=pool_size, query_timeout=query_timeout)
