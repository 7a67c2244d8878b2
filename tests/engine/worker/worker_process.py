"""A worker to be killed and stopped: `python -m tests.engine.worker.worker_process SPEC`, a `WorkerSpec` as JSON."""

import asyncio
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from db.assembly import COMMIT_STEPS, open_database
from db.bulk import chunks
from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.deliveries import queue, relay
from db.runs import claims, step_journal
from engine.compiled_flow import FlowCache
from engine.secrets.key_ring import KeyRing, parse_keys
from service.settings import Settings
from service.worker import Worker

ACTIONS = "tests.engine.faults.crash_actions"
_JOURNAL = frozenset(
    {
        claims.claim,
        claims.release_all,
        step_journal.interrupt,
        step_journal.advance,
        step_journal.skip,
    }
    | {
        step_journal.advance_batch,
        step_journal.snooze,
        step_journal.finish,
        claims.release,
        chunks.process_chunk,
        relay.advance,
        queue.claim,
        queue.end_attempts,
    }
)
_MAY_FIND_NOTHING = frozenset({claims.claim, claims.release_all, step_journal.advance_batch, queue.claim})


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker does."""

    url: str
    log: str
    """The file to log to."""
    until: str | None = None
    """The run after whose end the worker stops; None: it stops at SIGTERM."""
    kill_at: int = 0
    """The number, from 1, of the journal write, chunk of a bulk operation, or write of deliveries, at which it kills
    itself."""
    when: str = "before"
    """Whether it does so `before` or `after` the commit of that write."""
    concurrency: int = 64
    lease: float = 15.0
    grace: float = 10.0
    secret_keys: str = ""


def settings(spec: WorkerSpec) -> Settings:
    """Returns the settings of the worker that `spec` describes."""
    return Settings(
        database_url=spec.url,
        actions=ACTIONS,
        seed_demo=False,
        worker_concurrency=spec.concurrency,
        worker_lease_seconds=spec.lease,
        shutdown_grace_seconds=spec.grace,
        secret_keys=SecretStr(spec.secret_keys),
        http_allow_private=bool(spec.secret_keys),
    )


class MortalDatabase(Database):
    """Kills the process at one of its journal writes. Writes that change nothing do not count."""

    def __init__(self, spec: WorkerSpec) -> None:
        super().__init__(spec.url, COMMIT_STEPS)
        self._left = spec.kill_at
        self._when = spec.when

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Writes as every database does, until the process kills itself."""
        # The run output is written with a journal write, in its transaction.
        written = args[2] if work is step_journal.with_output else work
        if written not in _JOURNAL:
            return await super().write(work, *args, **kwargs)
        # Others may be committed first, though they were counted later.
        is_last: list[bool] = []
        result = await super().write(self._counted, is_last, work, *args, **kwargs)
        if any(is_last):
            _die()
        return result

    def _counted(
        self, uow: UnitOfWork, is_last: list[bool], work: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        result = work(uow, *args, **kwargs)
        if work not in _MAY_FIND_NOTHING or result:
            self._left -= 1
            is_last.append(self._left == 0)
        if any(is_last) and self._when == "before":
            _die()
        return result


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def work(spec: WorkerSpec) -> None:
    """Executes runs until the worker is asked to stop, or until the run of the spec has ended."""
    database = MortalDatabase(spec) if spec.kill_at else open_database(spec.url)
    keys = KeyRing(parse_keys(spec.secret_keys))
    worker = Worker(database, FlowCache(database), settings(spec), keys)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    if spec.until is None:
        await worker.run()
    else:
        with database.pubsub.subscribe(pubsub.run_changed(UUID(spec.until))) as ended:
            task = asyncio.create_task(worker.run())
            await ended.wait()
            worker.stop()
            await task
    await database.close()


def main() -> None:
    """Is the worker that the argument describes."""
    spec = WorkerSpec(**json.loads(sys.argv[1]))
    logging.basicConfig(filename=spec.log, level=logging.INFO)
    try:
        asyncio.run(work(spec))
    except BaseException:
        logging.critical(traceback.format_exc())
        raise


if __name__ == "__main__":
    main()
