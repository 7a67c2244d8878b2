"""Measures the cost of reads: `python -m bench.read [--quick] [--only sqlite|postgresql]`; see `--help` for more
options.

Creates its own data sets, on a PostgreSQL server and in SQLite files of its own, and starts the service, endpoints
written by hand (the floor), plain Strawberry over the ORM and, if npm is installed, PostGraphile. Each server has one
processor; PostgreSQL and the load share the others. Servers take turns, so that disturbances of the machine meet all of
them; figures are medians over the rounds. Processor time is user and system time of the server's process. Single reads
of the service are timed one after the other, with few runs and with all of them.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import orjson
import uvloop
from sqlalchemy import make_url

from bench.read import endpoint, postgraphile, sweep, tables
from bench.read.data import fill
from bench.read.load import Sample, UnexpectedResponseError, ask, connect, measure
from bench.read.servers import FLOOR, OTHER_CPUS, PLAIN, SERVER_CPU, Keys, Server, answering, peers, service
from bench.read.single import LIST, Read, reads
from bench.read.works import WORKS, Work, graphql
from db.migrate import upgrade
from domain.runs.run_filter import FILTER_FIELDS
from tests.support.databases.postgres import PostgresServer, postgres_server

REPEATS = 9
"""Number of repetitions of a single read after the first, which fills caches and does not count."""
SWEEP_REPEATS = 3
"""Number of repetitions of a read of the sweep."""
LONG_SECONDS = 3.0
"""Seconds above which a single read is not repeated."""


async def compare(
    servers: Sequence[Server], database: int | None, rounds: int, seconds: float
) -> dict[tuple[str, Work, int], Sample]:
    """Returns for each server, work and number of connections the round with the median of processor time."""
    samples: dict[tuple[str, Work, int], list[Sample]] = {}
    for _ in range(rounds):
        for work in WORKS:
            for connections in (tables.ONE_CONNECTION, tables.MANY_CONNECTIONS):
                for server in servers:
                    sample = await measure(
                        server.port, server.messages[work], connections, seconds, server.process.pid, database
                    )
                    samples.setdefault((server.name, work, connections), []).append(sample)
    return {key: sorted(found, key=lambda each: each.server_ms)[len(found) // 2] for key, found in samples.items()}


async def check_answers(servers: Sequence[Server], own: Server) -> None:
    """Checks that the floor and plain Strawberry answer what the service answers.

    Raises:
        RuntimeError: one answers something else.
    """
    for server in servers:
        for work in WORKS if server.name in (FLOOR, PLAIN) else ():
            for number in (0, -1):
                expected = await ask(own.port, own.messages[work][number])
                found = await ask(server.port, server.messages[work][number])
                if server.name == FLOOR and found != expected:
                    place = next(n for n, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1])
                    part = slice(max(0, place - 50), place + 50)
                    raise RuntimeError(f"({work.letter}) The floor answers {found[part]!r}, not {expected[part]!r}")
                if _runs(found) != _runs(expected):
                    raise RuntimeError(f"({work.letter}) {server.name} answers about other runs")


def _runs(body: bytes) -> list[str]:
    """The IDs of the runs in a response."""
    (found,) = orjson.loads(body)["data"].values()
    return [run["id"] for run in found.get("nodes", [found])]


async def time_reads(server: Server, keys: Keys, chosen: Sequence[Read], repeats: int = REPEATS) -> list[float | None]:
    """Returns the median milliseconds of each single read; None if the service refuses it."""
    client = await connect(server.port)
    times: list[float | None] = []
    for read in chosen:
        key = keys.operator if read.operator else keys.project
        variables = dict(read.variables)
        try:
            if read.deep:
                page = await client.ask(graphql(LIST, {**variables, "filter": read.deep}, key))
                variables["after"] = orjson.loads(page)["data"]["flowRuns"]["pageInfo"]["endCursor"]
            message = graphql(read.document, variables, key)
            await client.ask(message)
            took: list[float] = []
            while len(took) < repeats and sum(took) < LONG_SECONDS * 1_000:
                took.append(await endpoint.milliseconds(client, message))
            times.append(statistics.median(took))
        except UnexpectedResponseError as error:
            print(f"{read.title}: {error}")
            times.append(None)
    client.close()
    return times


async def measure_on(
    dialect: str, url: str, sizes: Sequence[int], options: argparse.Namespace, pid: int | None
) -> None:
    """Measures everything on one kind of database; `url` is followed by the number of runs."""
    times, titles = [], [(read.title, read.target_ms) for read in reads(sizes[-1])]
    for size in sizes:
        here = f"{url}{size}"
        if dialect == "postgresql":
            await create_database(here)
        await asyncio.to_thread(upgrade, here)
        await fill(here, size)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            own, keys = stack.enter_context(service(here, size, folder))
            await answering(own)
            if options.single:
                times.append(await time_reads(own, keys, list(reads(size))))
            if options.sweep is not None and size == sizes[-1]:
                swept = list(sweep.reads(size, options.sweep))
                found = await time_reads(own, keys, swept, SWEEP_REPEATS)
                print(f"\n## Every field, {dialect}, {size:,} runs\n\n{sweep.report(swept, found)}\n", flush=True)
            if size == sizes[-1] and options.rounds:
                has_peer = dialect == "postgresql" and options.postgraphile and postgraphile.is_available()
                environment = await postgraphile.prepare(here, folder) if has_peer else None
                others = stack.enter_context(peers(here, size, folder, environment))
                for each in others:
                    await answering(each)
                await check_answers(others, own)
                results = await compare([*others, own], pid, options.rounds, options.seconds)
                held, cold = await endpoint.event_loop_held(own, keys), await endpoint.cold_document(own, keys)
                print(f"\n## {dialect}, {size:,} runs\n\n{tables.comparison(results)}\n")
                print(tables.targets(dialect, results, held, cold))
    if options.single:
        print(f"\n{tables.growth(sizes, titles, times)}", flush=True)


async def create_database(url: str) -> None:
    """Creates an empty PostgreSQL database."""
    parsed = make_url(url).set(drivername="postgresql")
    connection = await asyncpg.connect(parsed.set(database="postgres").render_as_string(hide_password=False))
    await connection.execute(f'CREATE DATABASE "{parsed.database}"')
    await connection.close()


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """Starts a server with enough memory for the data set, on other processors than the servers under test."""
    with postgres_server() as server:
        dsn = make_url(server.url()).set(drivername="postgresql").render_as_string(hide_password=False)
        subprocess.run(["psql", "--quiet", dsn, "--command", "ALTER SYSTEM SET shared_buffers = '2GB'"], check=True)
        server.stop()
        server.start()
        os.sched_setaffinity(server.pid, OTHER_CPUS or [SERVER_CPU])
        yield server


def unmeasured_filters() -> list[str]:
    """Returns the fields of the filter for which there is no single read."""
    used = {name for read in reads(1_000_000) for name in dict(read.variables.get("filter") or {})}  # type: ignore[call-overload]
    return [name for name in FILTER_FIELDS if _camel_case(name) not in used]


def _camel_case(name: str) -> str:
    first, *others = name.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in others)


async def main(options: argparse.Namespace) -> None:
    """Measures on both databases, or on the selected one."""
    os.sched_setaffinity(0, OTHER_CPUS or [SERVER_CPU])
    if unmeasured := unmeasured_filters():
        print(f"Without a single read: {', '.join(unmeasured)}")
    if options.sweep is not None and (left_out := sweep.without_values(options.runs)):
        print(f"Without values in the sweep: {', '.join(left_out)}")
    if options.only != "sqlite":
        with postgresql() as server:
            sizes = (options.small, options.runs) if options.single else (options.runs,)
            await measure_on("postgresql", server.url("read_"), sizes, options, server.pid)
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            sizes = (options.small, options.sqlite_runs) if options.single else (options.sqlite_runs,)
            await measure_on("sqlite", f"sqlite+aiosqlite:///{folder}/read_", sizes, options, None)


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.read", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, help="runs in PostgreSQL; by default 1,000,000")
    parser.add_argument("--sqlite-runs", type=int, help="runs in SQLite; by default 200,000")
    parser.add_argument("--small", type=int, default=10_000, help="runs with which single reads are timed as well")
    parser.add_argument("--rounds", type=int, help="rounds of the comparison, by default 5; 0: none")
    parser.add_argument("--seconds", type=float, help="seconds of one round of one server; by default 3")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="leave the other database out")
    parser.add_argument("--no-postgraphile", dest="postgraphile", action="store_false", help="leave PostGraphile out")
    parser.add_argument("--no-single", dest="single", action="store_false", help="leave the single reads out")
    parser.add_argument(
        "--sweep",
        type=int,
        metavar="DRAWS",
        help="every field of the filter in each order, this many pairs and triples",
    )
    parser.add_argument("--quick", action="store_true", help="100,000 and 50,000 runs, 3 rounds of 1 second")
    options = parser.parse_args()
    usual = (100_000, 50_000, 3, 1.0) if options.quick else (1_000_000, 200_000, 5, 3.0)
    for name, value in zip(("runs", "sqlite_runs", "rounds", "seconds"), usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


if __name__ == "__main__":
    uvloop.run(main(parsed_options()))
