"""The servers under test: one process each, on the first processor that this process may use."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.read import postgraphile, works
from bench.read.load import UnexpectedResponseError, ask
from bench.read.works import Messages
from tests.support.databases.postgres import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
"""Seconds within which a server must respond."""
SERVER_CPU, *OTHER_CPUS = sorted(os.sched_getaffinity(0))
FLOOR, SERVICE, PLAIN, PEER = "floor", "Flow Runs", "plain Strawberry + SQLModel", "PostGraphile"


@dataclass(frozen=True)
class Server:
    """A server under test."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    messages: Messages


@dataclass(frozen=True)
class Keys:
    """API keys of the service: a project's, and the operator's."""

    project: str
    operator: str


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    messages: Messages,
    port: int,
    environment: Mapping[str, str],
    folder: Path = ROOT,
) -> Iterator[Server]:
    """Runs a server process, which is stopped at the end of the block."""
    process = subprocess.Popen(
        ["taskset", "--cpu-list", str(SERVER_CPU), *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Server(name, port, process, messages)
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


async def answering(server: Server) -> None:
    """Waits until a server responds to requests of each kind, and warms it up.

    Raises:
        RuntimeError: the server ended, or did not respond in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            for messages in server.messages.values():
                for message in messages:
                    await ask(server.port, message)
        except (OSError, UnexpectedResponseError) as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not respond") from error
            await asyncio.sleep(0.1)
        else:
            return


@contextmanager
def service(url: str, count: int, folder: Path, **settings: str) -> Iterator[tuple[Server, Keys]]:
    """Yields the API of the service, with more settings, and its keys."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNS_")}
    own = {"DATABASE_URL": url, "PORT": str(port), "SEED_DEMO": "false", "FILES_URL": str(folder), **settings}
    environment = {**kept, **{f"FLOWRUNS_{name}": value for name, value in own.items()}}

    def key(*options: str) -> str:
        command = [sys.executable, "-m", "service", "key", "create", "--name", "bench", "--role", "VIEWER", *options]
        made = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        return made.stdout.strip()

    keys = Keys(key("--project", "bench"), key("--operator"))
    command = [sys.executable, "-m", "service", "api"]
    with running(SERVICE, command, works.of_service(count, keys.project), port, environment) as server:
        yield server, keys


@contextmanager
def peers(url: str, count: int, folder: Path, own: Mapping[str, str] | None) -> Iterator[list[Server]]:
    """Yields the servers for comparison; PostGraphile if the environment of its process is given."""
    floor, plain, peer = (free_port() for _ in range(3))
    environment = dict(os.environ)

    def module(name: str, port: int) -> list[str]:
        return [sys.executable, "-m", f"bench.read.{name}", url, str(port)]

    with ExitStack() as stack:
        started = [
            running(FLOOR, module("floor", floor), works.of_floor(count), floor, environment),
            running(PLAIN, module("plain", plain), works.of_plain(count), plain, environment),
        ]
        if own is not None:
            messages, with_port = works.of_postgraphile(count), {**environment, **own, "PORT": str(peer)}
            started.append(running(PEER, postgraphile.COMMAND, messages, peer, with_port, folder))
        yield [stack.enter_context(each) for each in started]
