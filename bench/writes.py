"""Measures what writes of runs cost with what the database keeps beside them: `python -m bench.writes [--runs 2000]
[--rounds 3]`.

Executes runs of three steps in new databases: as they are; without the triggers of kept counts; with the search on; and
with runs of a held flow, which wait and are never claimed. All take turns, so that disturbances of the machine meet all
of them. Prints, for a run from its creation to its end, the processor time of this process with its worker and of
PostgreSQL, in the median over the rounds. It includes the time to sum the counts up.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from bench.engine import CHUNK, NO_OP, enqueue, new_flow, row, working_here
from bench.read.__main__ import create_database
from bench.read.load import cpu_of
from bench.search import TALKING
from db.assembly import open_database
from db.core import pg_notify
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.migrate import upgrade
from db.queue import holds
from db.search import switch
from domain.actor import SYSTEM
from engine.worker.maintenance import keep_counts
from tests.support.databases.postgres import postgres_server

HELD_RUNS = 5_000
FLOWS: Mapping[str, object] = {"outputs of an ID": NO_OP, "outputs of a kilobyte": TALKING}


@dataclass(frozen=True)
class Variant:
    """What a database keeps beside the runs."""

    title: str
    counts: bool = True
    search: bool = False
    held_runs: int = 0


BASE = Variant("without kept counts", counts=False)
VARIANTS = (
    BASE,
    Variant("with kept counts"),
    Variant("with the search as well", search=True),
    Variant(f"with {HELD_RUNS:,} runs of a held flow", held_runs=HELD_RUNS),
)


def drop_counts(uow: UnitOfWork) -> None:
    """Removes the triggers that count runs."""
    on = " ON flow_run" if uow.conn.dialect.name == "postgresql" else ""
    for name in ("created", "updated", "deleted"):
        uow.conn.execute(text(f"DROP TRIGGER count_{name}_runs{on}"))


async def hold_runs(database: Database, count: int) -> None:
    """Makes runs of a held flow. A claim has met them already, and moved them to the queue of the hold."""
    flow = await new_flow(database, "held", NO_OP)
    await database.write(holds.hold, flow.project_id, flow.flow_id, None, SYSTEM)
    for _ in range(0, count, CHUNK):
        await database.write(enqueue, flow, CHUNK)
    async with working_here(database):
        while await database.read(_due):
            await asyncio.sleep(0.1)


def _due(conn: Connection) -> int:
    return int(conn.execute(text("SELECT count(*) FROM flow_run WHERE due_at IS NOT NULL")).scalar_one())


def _succeeded(conn: Connection) -> int:
    # The service would answer from the counts, which a variant does not keep.
    return int(conn.execute(text("SELECT count(*) FROM flow_run WHERE status = 'SUCCEEDED'")).scalar_one())


async def cost(url: str, definition: object, variant: Variant, runs: int, server: int | None) -> tuple[float, float]:
    """Returns the milliseconds of processor time of this process and of the server for a run, in a new database."""
    await asyncio.to_thread(upgrade, url)
    database = open_database(url)
    if not variant.counts:
        await database.write(drop_counts)
    if variant.search:
        await database.write(switch.switch_on)
    async with pg_notify.listen_for_other_processes(database, url):
        if variant.held_runs:
            await hold_runs(database, variant.held_runs)
            await keep_counts(database)
        flow = await new_flow(database, "measured", definition)
        own, of_server = time.process_time(), cpu_of(server)
        for _ in range(0, runs, CHUNK):
            await database.write(enqueue, flow, CHUNK)
        async with working_here(database):
            while await database.read(_succeeded) < runs:
                await asyncio.sleep(0.2)
        await keep_counts(database)
        own, of_server = time.process_time() - own, cpu_of(server) - of_server
    await database.close()
    return own / runs * 1_000, of_server / runs * 1_000


async def measure(dialect: str, prefix: str, options: argparse.Namespace, server: int | None) -> None:
    """Prints the costs on one kind of database; new databases have URLs that begin with `prefix`."""
    for number, (title, definition) in enumerate(FLOWS.items()):
        found: dict[Variant, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS}
        for turn in range(options.rounds):
            for place, variant in enumerate(VARIANTS):
                url = f"{prefix}{number}_{turn}_{place}"
                if dialect == "postgresql":
                    await create_database(url)
                found[variant].append(await cost(url, definition, variant, options.runs, server))
        base = statistics.median(map(sum, found[BASE]))
        for variant, costs in found.items():
            own, of_server = (statistics.median(each) for each in zip(*costs, strict=True))
            both = statistics.median(map(sum, costs))
            parts = f"{own:.2f} ms" if server is None else f"{own:.2f} + {of_server:.2f} ms"
            row(f"{title}, {variant.title}", f"{parts}, {(both / base - 1) * 100:+.0f} %", dialect)


async def main(options: argparse.Namespace) -> None:
    """Measures both databases, or the selected one."""
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            await measure("sqlite", f"sqlite+aiosqlite:///{folder}/writes_", options, None)
    if options.only != "sqlite":
        with postgres_server() as server:
            await measure("postgresql", server.url("writes_"), options, server.pid)


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.writes", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2_000, help="runs in each database; by default 2,000")
    parser.add_argument("--rounds", type=int, default=3, help="databases of each kind; by default 3")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="leave the other database out")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed_options()))
