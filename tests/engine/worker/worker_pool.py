"""The real worker processes of worker_processes.py, as tests start and await them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.worker.worker_processes import WorkerSpec, start_request, wait_request

_ROOT = Path(__file__).parents[3]


class WorkerPool:
    """Starts workers in processes of their own, and reports their exit codes."""

    def __init__(self, pipe: "subprocess.Popen[str]") -> None:
        self._pipe = pipe

    async def start(self, spec: WorkerSpec) -> int:
        """The ID of a new worker."""
        return await asyncio.to_thread(self._ask, start_request(spec))

    async def ended(self, pid: int) -> int:
        """How a worker has ended: 0, or the number of the signal, negative. Waits for it."""
        return await asyncio.to_thread(self._ask, wait_request(pid))

    def _ask(self, request: str) -> int:
        assert self._pipe.stdin is not None
        assert self._pipe.stdout is not None
        self._pipe.stdin.write(request)
        self._pipe.stdin.flush()
        return int(self._pipe.stdout.readline())


@contextmanager
def run_worker_pool() -> Iterator[WorkerPool]:
    """Yields workers that start within milliseconds each; all of them are ended with the block."""
    command = [sys.executable, "-m", "tests.engine.worker.worker_processes"]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pipe:
        yield WorkerPool(pipe)
