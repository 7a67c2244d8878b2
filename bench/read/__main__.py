"""What reads cost: `python -m bench.read [--runs N] [--sqlite-runs N] [--rounds N] [--seconds S] [--only NAME]`.

Makes its own data sets, on a PostgreSQL server and in SQLite files of its own, and starts the service, endpoints written
by hand (the floor), plain Strawberry over the ORM and, where npm is there, PostGraphile. Each server runs on one
processor, PostgreSQL and the load on the others. Servers take turns, so that disturbances of the machine meet all of
them; figures are medians over the rounds. Then single reads of the service are timed, one after the other, with a
hundredth of the runs and with all of them.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from bench.read import postgraphile
from bench.read.data import fill, run_id
from bench.read.load import Sample, ask, measure, request
from bench.read.single import READS
from bench.read.works import ONE, WORKS, Work
from db.migrate import upgrade
from tests.support.postgres import PostgresServer, free_port, postgres_server

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
"""Seconds within which a server must answer."""
REPEATS = 5
"""Times that a single read is asked for; the first, which fills caches, does not count."""
SERVER_CPU, *OTHER_CPUS = sorted(os.sched_getaffinity(0))
FLOOR, SERVICE, PLAIN, PEER = "floor", "Flow Runs", "plain Strawberry", "PostGraphile"
TARGETS = {
    "postgresql": "to reach: server 1.3 times the floor, 1.3 times the requests of PostGraphile",
    "sqlite": "to reach: server 1.5 times the floor",
}


@dataclass(frozen=True)
class Server:
    """A server under test."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    messages: Mapping[str, bytes]
    """The request of each work, by its letter."""


def graphql(document: str, variables: Mapping[str, object], key: str | None) -> bytes:
    """The bytes of a GraphQL request."""
    return request("/graphql", json.dumps({"query": document, "variables": variables}).encode(), key)


def variables_of(work: Work, run: str) -> dict[str, object]:
    """The variables of a work; `run` is the ID for the one that reads a single run."""
    return {"id": run} if work is ONE else {}


@contextmanager
def running(
    name: str, command: Sequence[str], messages: Mapping[str, bytes], port: int, **process: object
) -> Iterator[Server]:
    """A server process on the first processor, stopped at the end."""
    given: dict[str, object] = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **process}
    started = subprocess.Popen(["taskset", "--cpu-list", str(SERVER_CPU), *command], **given)  # type: ignore[call-overload]
    try:
        yield Server(name, port, started, messages)
    finally:
        started.terminate()
        started.wait(timeout=START_SECONDS)


async def answering(server: Server) -> None:
    """Wait until a server answers each of its requests.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            for message in server.messages.values():
                await ask(server.port, message)
        except (OSError, asyncio.IncompleteReadError) as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not answer") from error
            await asyncio.sleep(0.1)
        else:
            return


@contextmanager
def service(url: str, run: str, folder: Path) -> Iterator[tuple[Server, str]]:
    """The API of the service, and a key that may read."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNS_")}
    own = {"DATABASE_URL": url, "PORT": str(port), "SEED_DEMO": "false", "FILES_URL": str(folder)}
    environment = {**kept, **{f"FLOWRUNS_{name}": value for name, value in own.items()}}
    create = [
        sys.executable,
        "-m",
        "service",
        "key",
        "create",
        "--name",
        "bench",
        "--role",
        "VIEWER",
        "--project",
        "bench",
    ]
    made = subprocess.run(create, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    key = made.stdout.strip()
    messages = {work.name: graphql(work.document, variables_of(work, run), key) for work in WORKS}
    with running(SERVICE, [sys.executable, "-m", "service", "api"], messages, port, env=environment) as server:
        yield server, key


def peers(stack: ExitStack, url: str, run: str, environment: Mapping[str, str] | None, folder: Path) -> list[Server]:
    """The other servers; PostGraphile where its environment is given."""
    ports = [free_port() for _ in range(3)]
    by_hand = {
        work.name: request(f"/{work.name}?id={run}" if work is ONE else f"/{work.name}", None, None) for work in WORKS
    }
    plain = {work.name: graphql(work.document, variables_of(work, run), None) for work in WORKS}
    started = [
        running(FLOOR, [sys.executable, "-m", "bench.read.floor", url, str(ports[0])], by_hand, ports[0]),
        running(PLAIN, [sys.executable, "-m", "bench.read.plain", url, str(ports[1])], plain, ports[1]),
    ]
    if environment is not None:
        key = run.removeprefix("run_")
        uuid = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
        documents = {
            work.name: graphql(postgraphile.DOCUMENTS[work.name], variables_of(work, uuid), None) for work in WORKS
        }
        own = {**os.environ, **environment, "PORT": str(ports[2])}
        started.append(running(PEER, postgraphile.COMMAND, documents, ports[2], cwd=folder, env=own))
    return [stack.enter_context(each) for each in started]


async def compare(
    servers: Sequence[Server], database: int | None, rounds: int, seconds: float
) -> dict[tuple[str, str], Sample]:
    """For each server and work the round with the median of requests; servers take turns."""
    samples: dict[tuple[str, str], list[Sample]] = {}
    for _ in range(rounds):
        for work in WORKS:
            for server in servers:
                message = server.messages[work.name]
                sample = await measure(server.port, message, seconds, server.process.pid, database)
                samples.setdefault((server.name, work.name), []).append(sample)
    return {key: sorted(found, key=lambda each: each.server_ms)[len(found) // 2] for key, found in samples.items()}


def print_comparison(dialect: str, count: int, medians: Mapping[tuple[str, str], Sample]) -> None:
    """The table of one database."""
    print(f"\n{dialect}, {count:,} runs ({TARGETS[dialect]})")
    for work in WORKS:
        print(f"  ({work.name}) {work.title}")
        floor = medians[FLOOR, work.name]
        for (name, letter), sample in medians.items():
            if letter == work.name:
                print(
                    f"    {name:17} server {sample.server_ms:7.3f} ms ({sample.server_ms / floor.server_ms:5.2f} x floor)  "
                    f" with database {sample.all_ms:7.3f} ms ({sample.all_ms / floor.all_ms:5.2f} x)  "
                    f" {sample.rate:7.0f} requests/s"
                )


async def time_reads(server: Server, key: str) -> list[float]:
    """Median milliseconds of each single read."""
    medians = []
    for read in READS:
        message, took = graphql(read.document, {}, key), []
        for _ in range(REPEATS):
            began = time.perf_counter()
            await ask(server.port, message)
            took.append((time.perf_counter() - began) * 1_000)
        medians.append(statistics.median(took[1:]))
    return medians


def print_reads(dialect: str, sizes: Sequence[int], times: Sequence[Sequence[float]]) -> None:
    """The table of single reads, by number of runs."""
    print(f"\nSingle reads on {dialect}, median ms with {' and '.join(f'{size:,}' for size in sizes)} runs; to reach")
    for number, read in enumerate(READS):
        found = "".join(f"{column[number]:10.1f}" for column in times)
        late = "  late" if times[-1][number] > read.target_ms else ""
        print(f"  {read.title:40}{found}{read.target_ms:8.0f}{late}")


async def measure_on(
    url: str, dialect: str, sizes: Sequence[int], options: argparse.Namespace, server: PostgresServer | None
) -> None:
    """Everything that is measured on one kind of database; `url` has a place for the name of a database."""
    times = []
    for size in sizes:
        here = url.format(size)
        if server is not None:
            await create_database(server, here)
        await asyncio.to_thread(upgrade, here)
        await fill(here, size)
        run = f"run_{run_id(size - 10, size).hex}"
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            own, key = stack.enter_context(service(here, run, folder))
            await answering(own)
            times.append(await time_reads(own, key))
            if size == sizes[-1]:
                has_peer = server is not None and postgraphile.is_available()
                environment = await postgraphile.prepare(here, folder) if has_peer else None
                servers = [*peers(stack, here, run, environment, folder), own]
                for each in servers:
                    await answering(each)
                medians = await compare(servers, server.pid if server else None, options.rounds, options.seconds)
                print_comparison(dialect, size, medians)
    print_reads(dialect, sizes, times)


async def create_database(server: PostgresServer, url: str) -> None:
    """An empty database on a server."""
    dsn = make_url(server.url()).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'CREATE DATABASE "{make_url(url).database}"')
    await connection.close()


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """A server with memory enough for the data set, beside the processor of the servers under test."""
    with postgres_server() as server:
        dsn = make_url(server.url()).set(drivername="postgresql").render_as_string(hide_password=False)
        subprocess.run(["psql", "--quiet", dsn, "--command", "ALTER SYSTEM SET shared_buffers = '2GB'"], check=True)
        server.stop()
        server.start()
        os.sched_setaffinity(server.pid, OTHER_CPUS or [SERVER_CPU])
        yield server


async def main(options: argparse.Namespace) -> None:
    """Measure on both databases, or on the one asked for."""
    os.sched_setaffinity(0, OTHER_CPUS or [SERVER_CPU])
    if options.only != "sqlite":
        with postgresql() as server:
            sizes = (max(1_000, options.runs // 100), options.runs)
            await measure_on(server.url("read_{}"), "postgresql", sizes, options, server)
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            sizes = (max(1_000, options.sqlite_runs // 100), options.sqlite_runs)
            await measure_on(f"sqlite+aiosqlite:///{folder}/{{}}.db", "sqlite", sizes, options, None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--sqlite-runs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    asyncio.run(main(parser.parse_args()))
