"""What measuring and tracing cost reads: `python -m bench.metrics [--runs N] [--rounds N] [--seconds S] [--full]`.

APIs on one SQLite file of its own take turns on one processor under the same load: one that does neither, one that
measures, and one that traces the default share of the requests; a second one that does neither shows the noise. With
--full, one more traces every request. Spans go to a collector in this process, which answers and keeps nothing. Prints
for each work of bench.read the processor time of a request without either, and the median over the rounds of the ratio
of each other one to it. At the end the metrics are read, as Prometheus does every 15 seconds by default: that costs the
same however many requests there are, so its share of a processor is printed by itself.
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
from bench.read.load import Sample, cpu_of, measure, request
from bench.read.load import ask as ask_once
from bench.read.servers import OTHER_CPUS, SERVER_CPU, Server, answering, service
from bench.read.works import WORKS, Work
from db.migrate import upgrade
from service.metrics.database_state import MAX_AGE_SECONDS
from tests.support.databases.postgres import free_port

CONNECTIONS = 16
SCRAPES = 5
SCRAPE_SECONDS = 15
"""Seconds between two readings of the metrics, as Prometheus does by default."""
OFF, AGAIN, MEASURING, TRACING, FULL = "off", "off again", "metrics", "traces", "all traces"
_RECEIVED = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one export of spans, as a collector does."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].split(maxsplit=1)[0]))
    writer.write(_RECEIVED)
    await writer.drain()
    writer.close()


async def turns(servers: dict[str, Server], work: Work, rounds: int, seconds: float) -> None:
    """Measures one work, and prints what each server costs."""
    found: list[dict[str, Sample]] = []
    for number in range(rounds):
        names: Sequence[str] = list(servers) if number % 2 == 0 else list(reversed(servers))
        samples = {}
        for name in names:
            server = servers[name]
            samples[name] = await measure(
                server.port, server.messages[work], CONNECTIONS, seconds, server.process.pid, None
            )
        found.append(samples)
    rest = statistics.median(each[OFF].server_ms for each in found)
    ratios = (
        f"{name} {statistics.median(each[name].server_ms / each[OFF].server_ms for each in found):.3f}"
        for name in servers
        if name != OFF
    )
    print(f"({work.letter})  off {rest:.3f} ms   " + "   ".join(ratios), flush=True)


async def scrapes(process: int, metrics_port: int) -> None:
    """Measures what reading the metrics costs."""
    message, costs = request("/metrics", None, None), []
    for _ in range(SCRAPES):
        # A state of the database is used again for a while; Prometheus comes later than that.
        await asyncio.sleep(MAX_AGE_SECONDS + 0.1)
        before = cpu_of(process)
        await ask_once(metrics_port, message)
        costs.append(cpu_of(process) - before)
    cost = statistics.mean(costs)
    print(f"a scrape {cost * 1_000:.0f} ms: {cost / SCRAPE_SECONDS:.2%} of a processor", flush=True)


async def main(options: argparse.Namespace) -> None:
    """Measures each work."""
    os.sched_setaffinity(0, OTHER_CPUS or [SERVER_CPU])
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, port, collector = Path(name), free_port(), free_port()
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector}"
        url = f"sqlite+aiosqlite:///{folder}/metrics"
        await asyncio.to_thread(upgrade, url)
        await fill(url, options.runs)
        settings = {
            OFF: {},
            AGAIN: {},
            MEASURING: {"METRICS": "on", "METRICS_PORT": str(port)},
            TRACING: {"TRACES": "on"},
            **({FULL: {"TRACES": "on", "TRACES_RATIO": "1"}} if options.full else {}),
        }
        async with await asyncio.start_server(collect, "127.0.0.1", collector):
            servers = {}
            for each, given in settings.items():
                servers[each], _ = stack.enter_context(service(url, options.runs, folder, **given))
                await answering(servers[each])
            for work in WORKS:
                await turns(servers, work, options.rounds, options.seconds)
            await scrapes(servers[MEASURING].process.pid, port)


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20_000, help="runs in the database")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each server for each work")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of one turn")
    parser.add_argument("--full", action="store_true", help="also trace every request")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parsed_options()))
