"""Periodic maintenance of a database and its file store: rescues waiting runs, prunes old data, deletes orphaned files.

Every worker runs all jobs, and the workers do not coordinate: a job skips rows that another worker has locked, or
repeats work without harm.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from db import access_tokens, api_keys, audit_events, retention, secrets, text_indexes
from db.alerts import groups, notifications
from db.bulk import operations as bulk_operations
from db.core import sqlite
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.deliveries import log as delivery_log
from db.events import log as event_log
from db.narrowing import values as metadata_values
from db.queue import budgets, holds, slots, workers
from db.removal import expiry, teardown
from db.removal.sweep import Swept
from db.rollups import upkeep
from db.runs.output import files
from db.search import switch
from domain import ids
from domain.ids import IdKind
from domain.time import clock
from engine.file_store import FileStore
from engine.secrets import endpoint_urls, signing
from engine.secrets.key_ring import NO_KEYS, KeyRing
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

RESCUE_SECONDS = 10.0
"""Time between two rescues of waiting runs, in seconds. Normally a freed slot promotes the next run at once."""
PRUNE_SECONDS = 600.0
"""Time between two prunes of expired data, in seconds."""
STATISTICS_SECONDS = 600.0
"""Time between two updates of SQLite's statistics on the distribution of values, in seconds."""
FILL_SECONDS = 60.0
"""Time between two checks whether runs are missing in the search, or in the index of metadata, in seconds."""
FILL_BATCH = 200
"""Number of runs whose texts are added to the search in one transaction."""
METADATA_BATCH = 1_000
"""Number of runs whose metadata is added to its index in one transaction, which takes some tens of milliseconds."""
ORPHANS_SECONDS = 6 * 3600.0
"""Time between two searches for orphaned files, in seconds: each reads the list of all files in the store."""
ORPHAN_AGE = timedelta(days=1)
"""Age below which a file without a row is not an orphan: the row is written after the bytes, at the end of the attempt
at latest."""
RUN_BATCH = 100
"""Runs that are purged in one transaction. With a few steps each, the transaction takes tens of milliseconds."""
REMOVAL_BATCH = 500
"""Runs that are deleted or archived in one transaction, without the child runs that go with them."""
REMOVAL_SECONDS = 5.0
"""Time between two searches for flows and projects that are being deleted, in seconds."""
MERGE_PAGES = 500
"""Pages of the index of texts that are merged in one transaction, which takes some tens of milliseconds."""
LINE_BATCH = 5_000
"""Log lines that are deleted in one transaction."""
EVENT_BATCH = 1_000
"""Events that are examined in one transaction, which deletes most of them; also events of the audit log that are
deleted in one."""
OUTCOME_BATCH = 5_000
"""Outcomes of bulk operations that are deleted in one transaction."""
DELIVERY_BATCH = 1_000
"""Deliveries that are deleted in one transaction, with their attempts."""
SECRET_BATCH = 1_000
"""Retired values of secrets that are deleted in one transaction."""
LOST_AGE = timedelta(days=1)
"""Time after which a lost worker is no longer listed."""
RETIRED_DAYS = 30
"""Days for which a value of a secret is masked after it was rotated or deleted. By then, other services should have
revoked the value, and their log lines that repeat it should be deleted."""
FILE_BATCH = 50
"""Files that are deleted from the store at the same time."""
COUNT_SECONDS = 1.0
"""Time between two sums of changed counts, in seconds. Answers add up the changes since the last one."""
CHANGE_BATCH = 20_000
"""Changed counts that are summed in one transaction."""
OLD_RUN_BATCH = 2_000
"""Approximate number of old runs that are counted in one transaction: runs created within 15 minutes are counted
together."""
START_SECONDS = 0.5
"""Time between the first runs of two jobs, in seconds: together they would take all connections of a worker that
starts, and opening them takes a server more time than the jobs."""
PAUSE_SECONDS = 0.1
"""Pause between two batches, in seconds, for other writers."""

_FILE_KEY = re.compile("([0-9a-f]{32})/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Job:
    """One maintenance job. It runs soon after the start of a worker, and again `seconds` after it has ended."""

    name: str
    seconds: float
    work: Callable[[], Awaitable[object]]


def maintenance_jobs(
    database: Database,
    store: FileStore,
    retention_days: int | None,
    event_days: int | None = None,
    bulk_days: int | None = None,
    audit_days: int | None = None,
    delivery_days: int | None = None,
    keys: KeyRing = NO_KEYS,
) -> list[Job]:
    """Returns all maintenance jobs.

    Args:
        database: The database to maintain.
        store: The file store to maintain.
        retention_days: Days for which step data are kept, unless a project sets another number; None: for ever.
        event_days: Days for which events are kept; None: for ever.
        bulk_days: Days for which bulk operations are kept after their end; None: for ever.
        audit_days: Days for which events of the audit log are kept; None: for ever.
        delivery_days: Days for which deliveries are kept; None: for ever.
        keys: The keys that encrypt secrets.
    """
    return [
        Job("rescue waiting runs", RESCUE_SECONDS, partial(rescue_waiting_runs, database)),
        Job("sum changed counts", COUNT_SECONDS, partial(keep_counts, database)),
        Job("remove empty counts", PRUNE_SECONDS, partial(database.write, upkeep.remove_empty)),
        Job("purge step data", PRUNE_SECONDS, partial(purge_step_data, database, retention_days)),
        Job("archive old runs", PRUNE_SECONDS, partial(archive_old_runs, database)),
        Job("delete expired runs", PRUNE_SECONDS, partial(delete_expired_runs, database)),
        Job("delete flows and projects", REMOVAL_SECONDS, partial(delete_flows_and_projects, database)),
        Job("prune events", PRUNE_SECONDS, partial(prune_events, database, event_days)),
        Job("prune bulk operations", PRUNE_SECONDS, partial(prune_bulk_operations, database, bulk_days)),
        Job("prune revoked tokens", PRUNE_SECONDS, partial(database.write, access_tokens.purge)),
        Job("prune sessions", PRUNE_SECONDS, partial(database.write, api_keys.purge_sessions)),
        Job("prune full budgets", PRUNE_SECONDS, partial(database.write, budgets.purge)),
        Job("prune audit log", PRUNE_SECONDS, partial(prune_audit_log, database, audit_days)),
        Job("prune deliveries", PRUNE_SECONDS, partial(prune_deliveries, database, delivery_days)),
        Job("prune retired secrets", PRUNE_SECONDS, partial(prune_retired_secrets, database)),
        Job("fill the search", FILL_SECONDS, partial(fill_search, database)),
        Job("add metadata of old runs", FILL_SECONDS, partial(add_metadata, database)),
        Job("encrypt signing secrets", PRUNE_SECONDS, partial(signing.seal_all, database, keys, plain=True)),
        Job("encrypt URLs of endpoints", PRUNE_SECONDS, partial(endpoint_urls.seal_plain, database, keys)),
        Job("prune lost workers", PRUNE_SECONDS, partial(prune_lost_workers, database)),
        Job("merge indexes of texts", PRUNE_SECONDS, partial(merge_forgotten_texts, database)),
        Job("gather statistics", STATISTICS_SECONDS, partial(gather_statistics, database)),
        Job("delete purged files", PRUNE_SECONDS, partial(delete_purged_files, database, store)),
        Job("delete orphaned files", ORPHANS_SECONDS, partial(delete_orphaned_files, database, store)),
    ]


class MaintenanceRunner:
    """Runs the maintenance jobs concurrently: a job that takes long, or fails, does not delay the others.

    They begin one after the other, `START_SECONDS` apart.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._services = [_JobService(job, START_SECONDS * index) for index, job in enumerate(jobs)]

    async def run(self) -> None:
        """Runs the jobs until `stop`, or until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for service in self._services:
                tasks.create_task(service.run())

    def stop(self) -> None:
        """Starts no further job; `run` returns when the current ones have ended."""
        for service in self._services:
            service.stop()


class _JobService(BackgroundService):
    def __init__(self, job: Job, delay: float) -> None:
        super().__init__(job.name, job.seconds)
        self._job = job
        self._delay = delay

    async def run(self) -> None:
        await clock.wait_for(self._stopping, self._delay)
        await super().run()

    async def work(self) -> float:
        await self._job.work()
        return self._job.seconds


async def gather_statistics(database: Database) -> None:
    """Updates the statistics of SQLite's tables. PostgreSQL updates its own."""
    if database.dialect == "sqlite":
        await database.write(lambda uow: sqlite.gather_statistics(uow.conn))


async def fill_search(database: Database) -> int:
    """Adds the texts of all runs that the search does not have yet, if it is on; returns the number of runs."""
    total = await _fill(database, switch.fill, FILL_BATCH)
    if total:
        _logger.info("search filled", extra={"runs": total})
    return total


async def add_metadata(database: Database) -> int:
    """Adds the metadata of runs that are older than its index; returns the number of runs."""
    return await _fill(database, metadata_values.fill, METADATA_BATCH)


async def _fill(database: Database, fill: Callable[[UnitOfWork, int], int], size: int) -> int:
    """Adds runs to an index, up to `size` in each transaction, with pauses, until all are there; returns their
    number."""
    total = 0
    while added := await database.write(fill, size):
        total += added
        await clock.sleep(PAUSE_SECONDS)
    return total


async def merge_forgotten_texts(database: Database) -> None:
    """Remove what SQLite's indexes of texts still hold of erased and deleted texts."""
    for merge_forgotten in (text_indexes.merge_forgotten, switch.merge_forgotten):
        while await database.write(merge_forgotten, MERGE_PAGES):
            await clock.sleep(PAUSE_SECONDS)


async def rescue_waiting_runs(database: Database) -> None:
    """Promote runs that wait for a slot although one is free, or for the end of a hold that has ended."""
    for project_id, flow_id in await database.read(slots.wait_queues):
        await database.write(slots.rescue_wait_queue, project_id, flow_id)
    for hold_id in await database.read(holds.ended):
        while await database.write(holds.release_queue, hold_id):
            await clock.sleep(PAUSE_SECONDS)


async def keep_counts(database: Database) -> None:
    """Sums the changes of the counts of runs; after an upgrade, first counts the runs that are older than the
    counts."""
    if not await database.read(upkeep.needs_upkeep):
        return
    await count_old_runs(database)
    while await database.write(upkeep.sum_up, CHANGE_BATCH):
        await clock.sleep(PAUSE_SECONDS)
    await database.read(upkeep.vacuum)


async def count_old_runs(database: Database) -> None:
    """Counts the runs that existed before the counts. An interrupted count is continued."""
    while await database.write(upkeep.fill, OLD_RUN_BATCH):
        await clock.sleep(PAUSE_SECONDS)


async def purge_step_data(database: Database, retention_days: int | None) -> int:
    """Purge the step data of all runs whose retention has ended; returns the number of runs."""
    total = 0
    while True:
        while await database.write(retention.trim_logs, retention_days, RUN_BATCH, LINE_BATCH) == LINE_BATCH:
            await clock.sleep(PAUSE_SECONDS)
        purged = await database.write(retention.purge_expired, retention_days, RUN_BATCH)
        if not purged:
            break
        total += purged
        await clock.sleep(PAUSE_SECONDS)
    if total:
        _logger.info("step data purged", extra={"runs": total})
    return total


async def archive_old_runs(database: Database) -> int:
    """Archive the runs that succeeded as long ago as the settings of their projects say; returns their number."""
    total = 0
    for project_id in await database.read(expiry.archived):
        is_last = False
        while not is_last:
            runs, is_last = await database.write(expiry.archive_old, project_id, REMOVAL_BATCH)
            total += runs
            await clock.sleep(0 if is_last else PAUSE_SECONDS)
    if total:
        _logger.info("old runs archived", extra={"runs": total})
    return total


async def delete_expired_runs(database: Database) -> int:
    """Delete the runs whose retention has ended; returns their number."""
    total = 0
    for project_id, status in await database.read(expiry.retained):
        total += await _sweep(database, expiry.delete_expired, project_id, status)
    if total:
        _logger.info("expired runs deleted", extra={"runs": total})
    return total


async def delete_flows_and_projects(database: Database) -> None:
    """Go on with the deletion of flows and projects, until nothing is left to be done for now."""
    for flow_id in await database.read(teardown.deleting_flows):
        while await database.write(teardown.stop_runs, flow_id):
            await clock.sleep(PAUSE_SECONDS)
        total = await _sweep(database, teardown.delete_runs, flow_id)
        if await database.write(teardown.finish_flow, flow_id):
            _logger.info("flow deleted", extra={"flow_id": ids.encode(IdKind.FLOW, flow_id), "runs": total})
    for project_id in await database.read(teardown.deleting_projects):
        while await database.write(teardown.finish_project, project_id, OUTCOME_BATCH):
            await clock.sleep(PAUSE_SECONDS)


async def _sweep(database: Database, delete_chunk: Callable[..., Swept | None], *of: object) -> int:
    """Delete runs in chunks, with pauses, until there are no more; returns their number."""
    total = 0
    after = UUID(int=0)
    while (swept := await database.write(delete_chunk, *of, after, REMOVAL_BATCH)) is not None:
        after = swept.through
        total += swept.total
        await clock.sleep(PAUSE_SECONDS)
    return total


async def prune_events(database: Database, event_days: int | None) -> None:
    """Deletes the events whose retention has ended. Cursors that point to them expire."""
    if event_days is None:
        return
    before = clock.now() - timedelta(days=event_days)
    while await database.write(event_log.purge, before, EVENT_BATCH) == EVENT_BATCH:
        await clock.sleep(PAUSE_SECONDS)


async def prune_audit_log(database: Database, audit_days: int | None) -> None:
    """Delete the events of the audit log whose retention has ended."""
    if audit_days is None:
        return
    before = clock.now() - timedelta(days=audit_days)
    while await database.write(audit_events.purge, before, EVENT_BATCH) == EVENT_BATCH:
        await clock.sleep(PAUSE_SECONDS)


async def prune_deliveries(database: Database, delivery_days: int | None) -> None:
    """Deletes the deliveries and notifications whose retention has ended, and groups of events that are old."""
    while await database.write(groups.prune, clock.now(), DELIVERY_BATCH) == DELIVERY_BATCH:
        await clock.sleep(PAUSE_SECONDS)
    if delivery_days is None:
        return
    before = clock.now() - timedelta(days=delivery_days)
    for prune in (delivery_log.prune, notifications.prune):
        while await database.write(prune, before, DELIVERY_BATCH) == DELIVERY_BATCH:
            await clock.sleep(PAUSE_SECONDS)


async def prune_bulk_operations(database: Database, bulk_days: int | None) -> None:
    """Delete the bulk operations whose retention has ended, with their outcomes."""
    if bulk_days is None:
        return
    before = clock.now() - timedelta(days=bulk_days)
    while await database.write(bulk_operations.purge, before, OUTCOME_BATCH):
        await clock.sleep(PAUSE_SECONDS)


async def prune_retired_secrets(database: Database) -> None:
    """Deletes the values of secrets that were rotated or deleted long ago. They are not masked any more."""
    before = clock.now() - timedelta(days=RETIRED_DAYS)
    while await database.write(secrets.prune_retired, before, SECRET_BATCH) == SECRET_BATCH:
        await clock.sleep(PAUSE_SECONDS)


async def prune_lost_workers(database: Database) -> None:
    """Delete the workers that were lost long ago."""
    await database.write(workers.prune_lost, clock.now() - LOST_AGE)


async def delete_purged_files(database: Database, store: FileStore) -> int:
    """Deletes all files of purged runs; returns their number.

    The bytes are deleted before the rows, so an interrupted deletion is repeated.

    Raises:
        FileStoreError: the file store is unavailable, or refuses the request.
    """
    deleted = 0
    while rows := await database.read(files.purged, FILE_BATCH):
        await _delete_from_store(store, (row.key for row in rows))
        await database.write(files.remove, [row.id for row in rows])
        deleted += len(rows)
    if deleted:
        _logger.info("files of purged runs deleted", extra={"files": deleted})
    return deleted


async def delete_orphaned_files(database: Database, store: FileStore) -> int:
    """Deletes stored files without a row, which lost workers left; returns their number.

    Raises:
        FileStoreError: the file store is unavailable, or refuses the request.
    """
    deleted = 0
    async for keys in store.keys(FILE_BATCH):
        old = _old_files(keys)
        run_ids = {file_id: run_id for file_id, (run_id, _) in old.items()}
        orphans = await database.read(files.orphans, run_ids) if old else ()
        await _delete_from_store(store, (old[file_id][1] for file_id in orphans))
        deleted += len(orphans)
    if deleted:
        _logger.info("orphaned files deleted", extra={"files": deleted})
    return deleted


def _old_files(keys: Iterable[str]) -> dict[UUID, tuple[UUID, str]]:
    """Returns run and key of each file that is old enough to have a row, by file ID."""
    # IDs begin with their creation time.
    youngest = ids.first_uuid_at(clock.now() - ORPHAN_AGE)
    old = {}
    for key in keys:
        # Other keys belong to other programs that use the same store.
        if match := _FILE_KEY.fullmatch(key):
            run_id, file_id = (UUID(part) for part in match.groups())
            if file_id < youngest:
                old[file_id] = (run_id, key)
    return old


async def _delete_from_store(store: FileStore, keys: Iterable[str]) -> None:
    """Deletes all files, then raises the first error."""
    results = await asyncio.gather(*(store.delete(key) for key in keys), return_exceptions=True)
    for error in results:
        if error is not None:
            raise error
