"""What measuring costs reads: `python -m bench.metrics [--runs N] [--rounds N] [--seconds S]`.

Two APIs on one SQLite file of its own, one that measures and one that does not, take turns on one processor under the
same load; the one that measures is read once in each turn, as Prometheus does. Prints for each work of bench.read the
processor time of a request of both, and the median over the rounds of their ratio.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench.read.data import fill
from bench.read.load import Sample, measure, request
from bench.read.load import ask as ask_once
from bench.read.servers import OTHER_CPUS, SERVER_CPU, Server, answering, service
from bench.read.works import WORKS, Work
from db.migrate import upgrade
from tests.support.databases.postgres import free_port

CONNECTIONS = 16


async def turns(off: Server, on: Server, metrics_port: int, work: Work, rounds: int, seconds: float) -> None:
    """Measures one work, and prints what it costs."""
    pairs: list[tuple[Sample, Sample]] = []
    for number in range(rounds):
        order: Sequence[Server] = (off, on) if number % 2 == 0 else (on, off)
        found = {}
        for server in order:
            scrape = (
                asyncio.create_task(ask_once(metrics_port, request("/metrics", None, None))) if server is on else None
            )
            found[server.port] = await measure(
                server.port, server.messages[work], CONNECTIONS, seconds, server.process.pid, None
            )
            if scrape is not None:
                await scrape
        pairs.append((found[off.port], found[on.port]))
    ratio = statistics.median(second.server_ms / first.server_ms for first, second in pairs)
    rest, measured = (statistics.median(each[side].server_ms for each in pairs) for side in (0, 1))
    print(f"({work.letter})  off {rest:.3f} ms   on {measured:.3f} ms   on / off {ratio:.3f}", flush=True)


async def main(options: argparse.Namespace) -> None:
    """Measures each work."""
    os.sched_setaffinity(0, OTHER_CPUS or [SERVER_CPU])
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        url = f"sqlite+aiosqlite:///{folder}/metrics"
        await asyncio.to_thread(upgrade, url)
        await fill(url, options.runs)
        off, _ = stack.enter_context(service(url, options.runs, folder))
        on, _ = stack.enter_context(service(url, options.runs, folder, METRICS="on", METRICS_PORT=str(port)))
        for server in (off, on):
            await answering(server)
        for work in WORKS:
            await turns(off, on, port, work, options.rounds, options.seconds)


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20_000, help="runs in the database")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each server for each work")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of one turn")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parsed_options()))
