"""Measures what a run takes on disk and what a process takes in memory: python -m bench.sizes [sqlite|postgresql].

A worker executes runs of three steps; the growth of the database is divided by their number. The memory of processes is
the resident set of `serve` on SQLite, or of `api` and `worker` on PostgreSQL, after the start and after the runs.
"""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from time import sleep

import httpx

from tests.support.databases.postgres import free_port, postgres_server
from tests.support.query import query

RUNS = 1_000
KEY = "a-key-fixed-by-the-operator"
STEPS = [{"name": name, "kind": "transform", "input": {"order": "{{ run.input.order }}"}} for name in "abc"]
START = "mutation($input: StartRunInput!) { startRun(input: $input) { __typename } }"


class Client:
    """A client with the ADMIN key."""

    def __init__(self, port: int) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)

    def wait(self) -> None:
        """Waits until the service is ready."""
        while True:
            try:
                if self._http.get("/readyz").is_success:
                    return
            except httpx.TransportError:
                pass
            sleep(0.1)

    def ask(self, text: str, **variables: object) -> dict[str, object]:
        body = self._http.post("/graphql", json={"query": text, "variables": variables}).json()
        assert "errors" not in body, body
        found: dict[str, object] = body["data"]
        return found


@contextmanager
def processes(commands: Sequence[str], environment: dict[str, str]) -> Iterator[list[Popen[bytes]]]:
    started = [
        Popen([sys.executable, "-m", "service", command], env=environment, stdout=DEVNULL, stderr=DEVNULL)
        for command in commands
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def memory(process: Popen[bytes]) -> float:
    """Returns the resident set of a process, in MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def size(url: str, folder: Path) -> int:
    """Returns the bytes of the database."""
    if url.startswith("sqlite"):
        asyncio.run(query(url, "PRAGMA wal_checkpoint(TRUNCATE)"))
        return (folder / "file.db").stat().st_size
    found: int = asyncio.run(query(url, "SELECT pg_database_size(current_database())"))
    return found


def measure(dialect: str) -> None:
    """Prints the figures of one database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        is_sqlite = dialect == "sqlite"
        url = f"sqlite+aiosqlite:///{folder}/file.db" if is_sqlite else stack.enter_context(postgres_server()).url()
        port = free_port()
        settings = {"DATABASE_URL": url, "PORT": str(port), "BOOTSTRAP_KEY": KEY, "FILES_URL": f"{folder}/files"}
        environment = {**os.environ, **{f"FLOWRUNS_{name}": value for name, value in settings.items()}}
        with processes(["migrate"], environment) as (migrating,):
            migrating.wait()
        commands = ["serve"] if is_sqlite else ["api", "worker"]
        with processes(commands, environment) as started:
            client = Client(port)
            client.wait()
            text = """mutation($d: JSON) { createFlow(name: "f", definition: $d) {
                ... on CreateFlowSuccess { flow { id } } } }"""
            flow = client.ask(text, d={"steps": STEPS})["createFlow"]["flow"]["id"]  # type: ignore[index]
            before = [memory(process) for process in started]
            empty = size(url, folder)
            for number in range(RUNS):
                client.ask(START, input={"flowId": flow, "input": {"order": f"order-{number}"}, "tags": ["a", "b"]})
            count = '{ flowRuns(filter: {flowIds: ["%s"], statuses: [SUCCEEDED]}) { totalCount } }' % flow  # noqa: UP031
            while client.ask(count)["flowRuns"]["totalCount"] < RUNS:  # type: ignore[index]
                sleep(0.5)
            after = [memory(process) for process in started]
            print(f"{dialect}: {(size(url, folder) - empty) / RUNS / 1024:.1f} KiB a run of three steps")
            for command, first, last in zip(commands, before, after, strict=True):
                print(f"{dialect}: {command} {first:.0f} MiB after the start, {last:.0f} MiB after {RUNS:,} runs")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["sqlite", "postgresql"]:
        measure(name)
