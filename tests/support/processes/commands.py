"""The command line, in processes of its own."""

import asyncio
import atexit
import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from tests.support.app import PATIENCE

ROOT = Path(__file__).parents[3]
_CLIENT = Path(__file__).with_name("fork_client.py")


@functools.cache
def _fork_server() -> str:
    """Starts the fork server of this test process, and returns the path of its socket."""
    folder = tempfile.TemporaryDirectory(prefix="flowruns-")
    path = str(Path(folder.name) / "socket")
    command = [sys.executable, "-m", "tests.support.processes.fork_server", path]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    return path


def service_command(*arguments: str) -> list[str]:
    """Returns a command that does what `python -m service` does, without the seconds that its imports take."""
    return [sys.executable, "-ISE", str(_CLIENT), _fork_server(), "service", *arguments]


class Fork:
    """A process that does what `python -m MODULE ARGUMENTS` does, without output. It is killed with the block."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_fork_server())
        request = {"module": module, "arguments": arguments, "environment": dict(environment), "folder": str(ROOT)}
        with Path(os.devnull).open("r+b") as null:
            socket.send_fds(self._server, [json.dumps(request).encode() + b"\n"], [null.fileno()] * 3)
        self._answers = self._server.makefile()
        self.pid = int(self._answers.readline())

    def wait(self) -> int:
        """Waits for the end of the process, and returns its exit code, or the negative number of the signal."""
        return int(self._answers.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The server kills the process of a connection that is closed.
        self._answers.close()
        self._server.close()


async def start(environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """`python -m service` with these arguments, its output in pipes."""
    return await asyncio.create_subprocess_exec(
        *service_command(*arguments),
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def run_service(
    environment: Mapping[str, str], command: str, *, stopped_by: signal.Signals = signal.SIGTERM
) -> AsyncIterator[tuple[str, str]]:
    """Where the service listens, and all it said by then; it is stopped as an operator stops it."""
    process = await start(environment, command)
    assert process.stdout is not None
    said = ""
    try:
        while "curl" not in said or not said.endswith("}'\n\n"):
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert line, (await process.communicate())[1].decode()
            said += line.decode()
        address = re.search(r"ready at (\S+)", said)
        assert address is not None
        yield address[1], said
    finally:
        await stop(process, stopped_by)
    # Ctrl+C is the usual way to end it, and not a failure; the sender of another signal learns that it was obeyed.
    assert process.returncode == (0 if stopped_by is signal.SIGINT else -stopped_by)


@asynccontextmanager
async def run_worker(environment: Mapping[str, str]) -> AsyncIterator[None]:
    """A worker; it is stopped as an operator stops it."""
    process = await start(environment, "worker")
    try:
        yield
    finally:
        await stop(process)
    assert process.returncode == 0


async def stop(process: asyncio.subprocess.Process, by: signal.Signals = signal.SIGTERM) -> None:
    """Have a process end by itself."""
    if process.returncode is None:
        process.send_signal(by)
    await asyncio.wait_for(process.communicate(), PATIENCE)
