"""Workers in processes of their own, as tests start and await them."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from tests.engine.worker.worker_process import WorkerSpec
from tests.support.processes.commands import Fork


class WorkerPool:
    """Starts workers that are killed at the end of the test, and reports their exit codes."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._forks: dict[int, Fork] = {}

    async def start(self, spec: WorkerSpec) -> int:
        """Starts a worker, and returns the ID of its process."""
        fork = await asyncio.to_thread(
            Fork, "tests.engine.worker.worker_process", json.dumps(asdict(spec)), environment=os.environ
        )
        self._stack.enter_context(fork)
        self._forks[fork.pid] = fork
        return fork.pid

    async def ended(self, pid: int) -> int:
        """Waits for the end of a worker, and returns its exit code, or the negative number of the signal."""
        return await asyncio.to_thread(self._forks[pid].wait)


@contextmanager
def run_worker_pool() -> Iterator[WorkerPool]:
    """Yields workers that start within milliseconds each; all of them are killed with the block."""
    with ExitStack() as stack:
        yield WorkerPool(stack)
