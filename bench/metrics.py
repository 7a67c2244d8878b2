"""What measuring and tracing cost reads: `python -m bench.metrics [--runs N] [--launches N] [--blocks N] [--full]`.

APIs on one SQLite file of its own take turns on one processor under the same load: one that does neither, one that
measures, and one that traces the default share of the requests; a second one that does neither shows the noise. With
--full, one more traces every request. Spans go to a collector in this process, which answers and keeps nothing.

A turn is a block of some 50 ms, so that what disturbs the machine meets all servers alike, and the processor time is
that of a server's process in nanoseconds, from its first block to its last: what its threads do between blocks, such as
sending spans, counts too. The addresses and hash seeds of a process make it a few per cent faster or slower than
another one with the same code, so all servers are launched several times. Prints for each work of bench.read the
processor time of a request without either, and the mean over the launches of the ratio of each other server to it, with
its standard error. At the end the metrics are read, as Prometheus does every 15 seconds by default: that costs the same
however many requests there are, so its share of a processor is printed by itself.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench.read.data import fill
from bench.read.load import Client, connect, request
from bench.read.load import ask as ask_once
from bench.read.servers import OTHER_CPUS, SERVER_CPU, Server, answering, service
from bench.read.works import LIST, NESTED, ONE, WORKS, Work
from db.migrate import upgrade
from service.metrics.database_state import MAX_AGE_SECONDS
from tests.support.databases.postgres import free_port

CONNECTIONS = 16
BLOCKS = {LIST: 48, NESTED: 112, ONE: 320}
"""Requests of one block: some 50 ms of processor time."""
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


def cpu_of(process: int) -> float:
    """Returns the seconds of processor time that the threads of a process have used so far, in nanoseconds' steps."""
    # The clock of a process's processor time has this ID on Linux, see clock_getcpuclockid(3).
    return time.clock_gettime((~process << 3) | 2)


async def send(clients: Sequence[Client], messages: Sequence[bytes]) -> None:
    """Sends one block of requests."""
    left = iter(messages)

    async def ask(client: Client) -> None:
        for message in left:
            await client.ask(message)

    await asyncio.gather(*map(ask, clients))


async def costs(servers: Mapping[str, Server], work: Work, blocks: int) -> dict[str, float]:
    """Returns the processor time of one request of each server, in milliseconds."""
    clients = {name: [await connect(each.port) for _ in range(CONNECTIONS)] for name, each in servers.items()}
    block = BLOCKS[work]
    names = list(servers)
    begun = {}
    for number in range(-1, blocks):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            messages = servers[name].messages[work]
            await send(clients[name], [messages[each % len(messages)] for each in range(block)])
        if number < 0:  # the first block only warms up
            begun = {name: cpu_of(each.process.pid) for name, each in servers.items()}
    used = {name: cpu_of(each.process.pid) - begun[name] for name, each in servers.items()}
    for each in (client for some in clients.values() for client in some):
        each.close()
    return {name: seconds / (blocks * block) * 1_000 for name, seconds in used.items()}


def show(work: Work, found: Sequence[Mapping[str, float]]) -> None:
    """Prints what each server costs, from the costs of each launch."""
    columns = []
    for name in (name for name in found[0] if name != OFF):
        ratios = [each[name] / each[OFF] for each in found]
        error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
        columns.append(f"{name} {statistics.mean(ratios):.3f} ±{error:.3f}")
    rest = statistics.mean(each[OFF] for each in found)
    print(f"({work.letter})  off {rest:.3f} ms   " + "   ".join(columns), flush=True)


async def scrapes(process: int, metrics_port: int) -> None:
    """Measures what reading the metrics costs."""
    message, used = request("/metrics", None, None), []
    for _ in range(SCRAPES):
        # A state of the database is used again for a while; Prometheus comes later than that.
        await asyncio.sleep(MAX_AGE_SECONDS + 0.1)
        before = cpu_of(process)
        await ask_once(metrics_port, message)
        used.append(cpu_of(process) - before)
    cost = statistics.mean(used)
    print(f"a scrape {cost * 1_000:.1f} ms: {cost / SCRAPE_SECONDS:.2%} of a processor", flush=True)


async def main(options: argparse.Namespace) -> None:
    """Measures each work."""
    os.sched_setaffinity(0, OTHER_CPUS or [SERVER_CPU])
    with tempfile.TemporaryDirectory() as name:
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
        found: dict[Work, list[dict[str, float]]] = {work: [] for work in WORKS}
        async with await asyncio.start_server(collect, "127.0.0.1", collector):
            for launch in range(options.launches):
                with ExitStack() as stack:
                    servers = {}
                    for each, given in settings.items():
                        servers[each], _ = stack.enter_context(service(url, options.runs, folder, **given))
                        await answering(servers[each])
                    for work in WORKS:
                        found[work].append(await costs(servers, work, options.blocks))
                    if launch == options.launches - 1:
                        await scrapes(servers[MEASURING].process.pid, port)
        for work in WORKS:
            show(work, found[work])


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20_000, help="runs in the database")
    parser.add_argument("--launches", type=int, default=8, help="launches of each server")
    parser.add_argument("--blocks", type=int, default=32, help="blocks of requests to each server, for each work")
    parser.add_argument("--full", action="store_true", help="also trace every request")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parsed_options()))
