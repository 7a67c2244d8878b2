"""What the search of inputs, outputs and logs costs: `python -m bench.search [--runs 4000] [--rounds 3]`.

Executes runs of a flow whose steps have inputs and outputs of about a kilobyte, in new databases with the search off
and on by turns, so that disturbances of the machine meet both. Prints runs enqueued and executed a second, in the
median over the rounds, and the size of what the search keeps. Times of searches are among those of `bench.read`.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import Connection, text

from bench.engine import NO_OP, new_flow, row, throughput, working, working_here
from bench.read.__main__ import create_database
from db.assembly import open_database
from db.core import pg_notify
from db.migrate import upgrade
from db.search import switch
from tests.support.databases.postgres import postgres_server

_WORDS = " ".join(f"word {number} of {{{{ run.id }}}}" for number in range(20))
TALKING = {"steps": [{"name": name, "kind": "transform", "input": {"text": _WORDS}} for name in "abc"]}
"""Three steps, each with an input and an output of about a kilobyte."""
FLOWS = {"outputs of an ID": NO_OP, "outputs of a kilobyte": TALKING}
_SIZES = {
    "sqlite": "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name LIKE 'run_text%'",
    "postgresql": "SELECT pg_total_relation_size('run_text')",
}


def size(conn: Connection) -> int:
    """Returns the bytes of the tables and indexes of the search."""
    return int(conn.execute(text(_SIZES[conn.dialect.name])).scalar_one())


async def measured(url: str, definition: object, count: int, *, is_on: bool) -> tuple[float, float, int]:
    """Returns runs enqueued and executed a second in a new database, and the bytes that the search takes."""
    await asyncio.to_thread(upgrade, url)
    database = open_database(url)
    if is_on:
        await database.write(switch.switch_on)
    flow = await new_flow(database, "measured", definition)
    is_sqlite = database.dialect == "sqlite"
    workers = partial(working_here, database) if is_sqlite else partial(working, url, 1)
    async with pg_notify.listen_for_other_processes(database, url):
        enqueued, executed = await throughput(database, flow, count, workers)
    # SQLite may have been built without the table that tells sizes.
    taken = await database.read(size) if is_on and not is_sqlite else 0
    await database.close()
    return enqueued, executed, taken


@contextmanager
def databases(dialect: str) -> Iterator[str]:
    """Yields the beginning of URLs of new databases."""
    if dialect == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite+aiosqlite:///{folder}/search_"
    else:
        with postgres_server() as server:
            yield server.url("search_")


async def main(options: argparse.Namespace) -> None:
    """Measures both databases."""
    for dialect in ("sqlite", "postgresql"):
        if options.only not in (None, dialect):
            continue
        with databases(dialect) as prefix:
            for number, (title, definition) in enumerate(FLOWS.items()):
                found: dict[bool, list[tuple[float, float, int]]] = {False: [], True: []}
                for turn in range(options.rounds):
                    for is_on in (False, True):
                        url = f"{prefix}{number}_{turn}_{'on' if is_on else 'off'}"
                        if dialect == "postgresql":
                            await create_database(url)
                        found[is_on].append(await measured(url, definition, options.runs, is_on=is_on))
                off, on = ([statistics.median(each) for each in zip(*found[key], strict=True)] for key in (False, True))
                for what, place in (("enqueued", 0), ("executed", 1)):
                    change = (on[place] / off[place] - 1) * 100
                    row(f"{title}: {what}", f"{off[place]:.0f} → {on[place]:.0f} runs/s, {change:+.0f} %", dialect)
                if on[2]:
                    row(f"{title}: the search takes", f"{on[2] / options.runs:,.0f} bytes a run", dialect)


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=4_000, help="runs in each database; by default 4,000")
    parser.add_argument("--rounds", type=int, default=3, help="databases of each kind; by default 3")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="leave the other database out")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed_options()))
