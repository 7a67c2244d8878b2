"""What a worker does from time to time: makes way for runs that were forgotten, and deletes what is kept no longer.

Every worker does it. They do not need to agree: what one has in hand, the others pass over, or do once more without
harm.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from db import retention
from db.bulk import operations as bulk_operations
from db.core.database import Database
from db.events import log as event_log
from db.queue import slots
from db.runs import files
from domain import clock, ids
from domain.errors import DatabaseUnavailableError
from engine.file_store import FileStore, FileStoreError

_logger = logging.getLogger(__name__)

RESCUE_SECONDS = 10.0
"""Between two looks at the lines of runs that wait for a place; whoever frees a place makes way at once."""
PURGE_SECONDS = 600.0
"""Between two looks for step data that are kept no longer."""
ORPHANS_SECONDS = 6 * 3600.0
"""Between two looks through the whole file store."""
ORPHAN_AGE = timedelta(days=1)
"""Younger files without a row may get it yet: a row is written after the bytes, when an attempt ends at the latest."""
BATCH = 100
"""Runs purged in one transaction: with some steps each it ends within tens of milliseconds."""
LINES = 5_000
"""Of logs, deleted in one transaction."""
EVENTS = 1_000
"""Looked at in one transaction, which deletes most of them."""
OUTCOMES = 5_000
"""Of bulk operations, deleted in one transaction."""
FILES_AT_ONCE = 50
"""Deleted from the store."""
REST_SECONDS = 0.1
"""Between two batches, for others who write."""

_FILE_KEY = re.compile("([0-9a-f]{32})/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done from time to time: at the start, and whenever it was done so many `seconds` ago."""

    what: str
    seconds: float
    work: Callable[[], Awaitable[object]]


def maintenance_jobs(
    database: Database,
    store: FileStore,
    retention_days: int | None,
    event_days: int | None = None,
    bulk_days: int | None = None,
) -> list[Job]:
    """All that keeps a database and its file store in order.

    `retention_days` is how long step data are kept unless a project says otherwise, `event_days` how long events are,
    `bulk_days` how long bulk operations are that have ended; None: for ever.
    """
    return [
        Job("sweeping the lines of runs", RESCUE_SECONDS, partial(rescue_waiting_runs, database)),
        Job("purging step data", PURGE_SECONDS, partial(purge_step_data, database, retention_days)),
        Job("purging events", PURGE_SECONDS, partial(purge_events, database, event_days)),
        Job("purging bulk operations", PURGE_SECONDS, partial(purge_bulk_operations, database, bulk_days)),
        Job("deleting files of purged runs", PURGE_SECONDS, partial(delete_purged_files, database, store)),
        Job("deleting files that nobody knows", ORPHANS_SECONDS, partial(delete_orphans, database, store)),
    ]


class MaintenanceRunner:
    """Does jobs, each by itself: one that takes long, or fails, holds up no other."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for job in self._jobs:
                tasks.create_task(_run_periodically(job))


async def rescue_waiting_runs(database: Database) -> None:
    """Let runs go on that wait for a place although there is one."""
    for project_id, line in await database.read(slots.wait_queues):
        await database.write(slots.rescue_wait_queue, project_id, line)


async def purge_step_data(database: Database, retention_days: int | None) -> int:
    """Purge all step data that are kept no longer; returns the number of runs."""
    purged = 0
    while True:
        while await database.write(retention.trim_logs, retention_days, BATCH, LINES) == LINES:
            await clock.sleep(REST_SECONDS)
        number = await database.write(retention.purge_expired, retention_days, BATCH)
        if not number:
            break
        purged += number
        await clock.sleep(REST_SECONDS)
    if purged:
        _logger.info("Purged the step data of %d runs", purged)
    return purged


async def purge_events(database: Database, event_days: int | None) -> None:
    """Delete the events that are kept no longer; cursors from before expire."""
    if event_days is None:
        return
    before = clock.now() - timedelta(days=event_days)
    while await database.write(event_log.purge, before, EVENTS) == EVENTS:
        await clock.sleep(REST_SECONDS)


async def purge_bulk_operations(database: Database, bulk_days: int | None) -> None:
    """Delete the bulk operations that ended longer ago than they are kept, with what became of each run."""
    if bulk_days is None:
        return
    before = clock.now() - timedelta(days=bulk_days)
    while await database.write(bulk_operations.purge, before, OUTCOMES):
        await clock.sleep(REST_SECONDS)


async def delete_purged_files(database: Database, store: FileStore) -> int:
    """Delete all files of purged runs, bytes before rows: what is cut short is done once more. Returns their number.

    Raises:
        FileStoreError: the store does not answer, or refuses.
    """
    deleted = 0
    while found := await database.read(files.purged, FILES_AT_ONCE):
        await _delete(store, (file.key for file in found))
        await database.write(files.remove, [file.id for file in found])
        deleted += len(found)
    if deleted:
        _logger.info("Deleted %d files of purged runs", deleted)
    return deleted


async def delete_orphans(database: Database, store: FileStore) -> int:
    """Delete files that were put into the store and never got a row, because a worker was lost; returns their number.

    Raises:
        FileStoreError: the store does not answer, or refuses.
    """
    deleted = 0
    async for keys in store.keys(FILES_AT_ONCE):
        found = _old_files(keys)
        orphans = await database.read(files.orphans, {file: run for file, (run, _) in found.items()}) if found else ()
        await _delete(store, (found[file_id][1] for file_id in orphans))
        deleted += len(orphans)
    if deleted:
        _logger.info("Deleted %d files that no run knows", deleted)
    return deleted


def _old_files(keys: Iterable[str]) -> dict[UUID, tuple[UUID, str]]:
    """Of what the store has, the files that should have a row by now: each with its run and its key."""
    # IDs begin with the time at which they were made.
    young = ids.first_uuid_at(clock.now() - ORPHAN_AGE)
    found = {}
    for key in keys:
        # What else there may be is not ours.
        if match := _FILE_KEY.fullmatch(key):
            run_id, file_id = (UUID(part) for part in match.groups())
            if file_id < young:
                found[file_id] = (run_id, key)
    return found


async def _delete(store: FileStore, keys: Iterable[str]) -> None:
    told = await asyncio.gather(*(store.delete(key) for key in keys), return_exceptions=True)
    for error in told:
        if error is not None:
            raise error


async def _run_periodically(job: Job) -> None:
    while True:
        try:
            await job.work()
        except DatabaseUnavailableError:
            _logger.warning("The database is away from %s; trying again in %g s", job.what, job.seconds)
        except FileStoreError as error:
            _logger.warning("The file store is away from %s; trying again in %g s: %s", job.what, job.seconds, error)
        except Exception:
            _logger.exception("Failed at %s; trying again in %g s", job.what, job.seconds)
        await clock.sleep(job.seconds)
