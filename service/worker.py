"""A worker: a dispatcher and an executor with everything they need."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from db import journal
from db.session import Database
from domain import clock
from engine import actions, steps
from engine.executor import Executor
from engine.flows import FlowCache
from engine.housekeeping import Housekeeper
from engine.polling import PollingDispatcher, PollingSettings
from service.settings import Settings

_logger = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
"""After which a dispatcher that failed is started again."""
_DEMO_ACTIONS = "service.demo_actions"


class Worker:
    """Executes the runs of a database until it is stopped."""

    def __init__(self, database: Database, flows: FlowCache, settings: Settings) -> None:
        self._database = database
        self._flows = flows
        self._settings = settings
        self._stopped = False
        modules = [*settings.action_modules, *([_DEMO_ACTIONS] if settings.seed_demo else [])]
        self._runner_settings = steps.RunnerSettings(
            http_allow_private=settings.http_allow_private, actions=actions.load(modules)
        )
        self._dispatcher = self._new_dispatcher()

    def stop(self) -> None:
        """Claim no more; `run` returns when the runs under way have ended or were handed back."""
        self._stopped = True
        self._dispatcher.stop()

    async def run(self) -> None:
        """Execute runs until `stop`. A fault of the dispatcher is logged, and the work goes on."""
        with _worker_lock(self._settings.database_file) as alone:
            if alone:
                await self._take_over()
            async with steps.runners(self._runner_settings) as runners, self._housekeeping():
                executor = Executor(self._database, self._flows, runners)
                while not self._stopped:
                    await self._dispatch(executor)

    @asynccontextmanager
    async def _housekeeping(self) -> AsyncIterator[None]:
        keeper = Housekeeper(self._database, self._settings.execution_data_retention_days)
        keeping = asyncio.create_task(keeper.run())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _dispatch(self, executor: Executor) -> None:
        try:
            await self._dispatcher.run(executor.execute)
        except Exception:
            _logger.exception("The dispatcher failed; starting it again in %g s", RESTART_SECONDS)
            await clock.sleep(RESTART_SECONDS)
            self._dispatcher = self._new_dispatcher()

    async def _take_over(self) -> None:
        """Go on at once with what a killed process left: its leases need not run out, for nobody holds them."""
        if count := await self._database.write(journal.release_all):
            _logger.info("Going on with %d runs that were under way when the last worker ended", count)

    def _new_dispatcher(self) -> PollingDispatcher:
        return PollingDispatcher(
            self._database,
            PollingSettings(
                concurrency=self._settings.worker_concurrency,
                lease=self._settings.worker_lease_seconds,
                grace=self._settings.shutdown_grace_seconds,
            ),
        )


@contextmanager
def _worker_lock(database_file: Path | None) -> Iterator[bool]:
    """Whether this is the only worker of an SQLite file; the operating system frees the lock of a killed one."""
    if database_file is None:
        yield False
        return
    lock = FileLock(database_file.with_name(database_file.name + ".worker"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
