"""A worker: a dispatcher and an executor with the services that they need."""

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import BinaryIO
from uuid import UUID

from db.alerts import notifications
from db.bulk import leases as bulk_leases
from db.core.database import Database
from db.deliveries import queue as delivery_queue
from db.deliveries import relay as delivery_relay
from db.queue import workers
from db.queue.workers import WorkerIdentity
from db.runs import claims
from domain import ids
from domain.observation.observer import SILENT, Observer
from domain.observation.spans import NO_TRACES, Tracer
from domain.time import clock
from engine import actions
from engine.alerts.messenger import Messenger
from engine.alerts.notifier import Notifier
from engine.alerts.standby import AlertStandby
from engine.compiled_flow import FlowCache
from engine.deliveries.deliverer import Deliverer
from engine.deliveries.relay import Relay
from engine.deliveries.sender import Sender
from engine.executor import Executor
from engine.file_store import FileStore
from engine.run_output import OutputLimits
from engine.secrets.key_ring import NO_KEYS, KeyRing
from engine.secrets.store import SecretStore
from engine.steps import KINDS, StepSettings
from engine.worker.background_service import BackgroundService
from engine.worker.bulk_worker import BulkWorker
from engine.worker.dispatcher import Dispatcher, DispatcherSettings
from engine.worker.maintenance import MaintenanceRunner, maintenance_jobs
from engine.worker.presence import Presence
from engine.worker.scheduler import Scheduler
from live.event_predicate import EventPredicate
from schema.inputs.filters import events_filter_from_text
from service import VERSION
from service.settings import Settings

_logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
"""Seconds until a dispatcher that failed is started again. Background services survive their failures."""
_DEMO_ACTIONS = "service.demo_actions"


class Worker:
    """Executes the runs of a database, starts those of its schedules, and serves bulk work, deliveries and alerts."""

    def __init__(
        self,
        database: Database,
        flows: FlowCache,
        settings: Settings,
        keys: KeyRing = NO_KEYS,
        observer: Observer = SILENT,
        tracer: Tracer = NO_TRACES,
        files: FileStore | None = None,
    ) -> None:
        """`keys` decrypt the secrets of steps, `files` is the store of the settings if the process has opened it."""
        self._database = database
        self._flows = flows
        self._settings = settings
        self._observer = observer
        self._tracer = tracer
        self._stopped = False
        modules = [*settings.action_modules, *([_DEMO_ACTIONS] if settings.seed_demo else [])]
        self._step_settings = StepSettings(
            http_allow_private=settings.http_allow_private,
            http_use_proxies=settings.uses_proxies,
            actions=actions.load(modules),
        )
        self.files = files or FileStore(settings.files_location)
        """The store of the files of runs."""
        self._output_limits = OutputLimits(self.files, settings.max_log_lines, settings.max_file_bytes)
        self._dispatcher = self._new_dispatcher()
        self._scheduler = Scheduler(database, flows)
        self._bulk = BulkWorker(database)
        self._secrets = SecretStore(database, keys)
        self._relay = _new_relay(database)
        sender = Sender(allow_private=settings.http_allow_private, use_proxies=settings.uses_proxies)
        self._deliverer = Deliverer(database, sender, self._secrets, observer)
        self._notifier = _new_notifier(database, settings, self._secrets, observer)
        self._presence = Presence(database, _identity(settings.worker_concurrency), self._executing)

    @property
    def executing(self) -> int:
        """The number of runs that are executed now."""
        return self._dispatcher.executing

    @property
    def concurrency(self) -> int:
        """The number of runs that are executed at the same time, at most."""
        return self._settings.worker_concurrency

    def stop(self) -> None:
        """Claims no more runs; `run` returns when the active runs have ended or were released."""
        self._stopped = True
        for service in self._beside:
            service.stop()
        self._dispatcher.stop()
        self._presence.drain()

    @property
    def _beside(self) -> Sequence[BackgroundService]:
        """The services beside the execution of runs."""
        return (self._scheduler, self._bulk, self._relay, self._deliverer, self._notifier)

    async def run(self) -> None:
        """Executes runs until `stop`. A failure of the dispatcher is logged, and the work continues."""
        async with (
            self._file_lock(),
            self._maintenance(),
            self._reporting(),
            KINDS.open(self._step_settings) as kinds,
        ):
            executor = Executor(
                self._database, self._flows, kinds, self._output_limits, self._secrets, self._observer, self._tracer
            )
            beside = [asyncio.create_task(service.run()) for service in self._beside]
            try:
                with self._secrets.watching():
                    while not self._stopped:
                        await self._dispatch(executor)
                    await asyncio.gather(*beside)
            finally:
                for task in beside:
                    task.cancel()

    @asynccontextmanager
    async def _file_lock(self) -> AsyncIterator[None]:
        """Makes this worker known to the other workers of an SQLite file. The first one claims the runs of killed
        processes.

        The workers share a lock, which the operating system releases when a process is killed.
        """
        file = self._settings.database_file
        if file is None:
            yield
            return
        with file.with_name(file.name + ".worker").open("ab") as lock:
            if _lock_alone(lock):
                await self._take_over()
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_SH)
            yield

    @asynccontextmanager
    async def _reporting(self) -> AsyncIterator[None]:
        """Listed among the workers."""
        reporting = asyncio.create_task(self._presence.run())
        try:
            yield
        finally:
            self._presence.stop()
            await asyncio.wait([reporting])

    def _executing(self) -> Mapping[UUID, datetime]:
        return self._dispatcher.executing_since()

    @asynccontextmanager
    async def _maintenance(self) -> AsyncIterator[None]:
        settings = self._settings
        jobs = maintenance_jobs(
            self._database,
            self.files,
            settings.execution_data_retention_days,
            settings.event_retention_days,
            settings.bulk_retention_days,
            settings.audit_retention_days,
            settings.delivery_retention_days,
            self._secrets.keys,
        )
        keeping = asyncio.create_task(MaintenanceRunner(jobs).run())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _dispatch(self, executor: Executor) -> None:
        try:
            await self._dispatcher.run(executor.execute)
        except Exception:
            fields = {"part": type(self._dispatcher).__name__, "restart_seconds": RESTART_SECONDS}
            _logger.exception("part of the worker failed", extra=fields)
            await clock.sleep(RESTART_SECONDS)
            self._dispatcher = self._new_dispatcher()

    async def _take_over(self) -> None:
        """Releases the leases of a killed process at once: no process uses them."""
        await self._database.write(workers.remove_all)
        await self._database.write(bulk_leases.release_leases)
        await self._database.write(delivery_relay.release, None)
        await self._database.write(delivery_queue.release, None, clock.now())
        await self._database.write(notifications.release, None, clock.now())
        if count := await self._database.write(claims.release_all):
            _logger.info("leases of the last worker released", extra={"runs": count})

    def _new_dispatcher(self) -> Dispatcher:
        settings = DispatcherSettings(
            concurrency=self._settings.worker_concurrency,
            lease=self._settings.worker_lease_seconds,
            grace=self._settings.shutdown_grace_seconds,
        )
        return Dispatcher(self._database, settings, self._observer)


def new_standby(database: Database, settings: Settings, keys: KeyRing, observer: Observer = SILENT) -> AlertStandby:
    """Returns what sends alerts from a process without a worker. `keys` decrypt the targets of alerts."""
    notifier = _new_notifier(database, settings, SecretStore(database, keys), observer)
    return AlertStandby(database, _new_relay(database), notifier)


def _new_relay(database: Database) -> Relay:
    return Relay(database, lambda text: EventPredicate(events_filter_from_text(text)))


def _new_notifier(database: Database, settings: Settings, secrets: SecretStore, observer: Observer) -> Notifier:
    messenger = Messenger(
        settings.mail_server, allow_private=settings.http_allow_private, use_proxies=settings.uses_proxies
    )
    return Notifier(database, messenger, secrets, observer)


def _identity(concurrency: int) -> WorkerIdentity:
    return WorkerIdentity(ids.new_uuid(), socket.gethostname(), os.getpid(), VERSION, concurrency, clock.now())


def _lock_alone(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
