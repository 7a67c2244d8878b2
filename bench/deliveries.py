"""How fast deliveries are: `python -m bench.deliveries [DATABASE_URL] [EVENTS]`.

Takes an empty database, by default an SQLite file of its own. Measures what the transactions of runs cost without a
relay, with a relay and no endpoint, and with an endpoint, whose deliveries are sent meanwhile, so that their processor
time is part of it; then deliveries a second of a backlog, and the time from the
commit of a run to the arrival of its event at a receiver on this machine. All of it happens in one process, so the
figures include the receiver.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any
from uuid import UUID

import orjson

from bench.engine import NO_OP, Flow, enqueue, new_flow, row, spread
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.deliveries import endpoints, relay
from db.migrate import upgrade
from domain import ids
from domain.actor import SYSTEM
from domain.ids import IdKind
from domain.time import clock
from engine.deliveries import sealing
from engine.deliveries.deliverer import Deliverer
from engine.deliveries.relay import Relay
from engine.deliveries.sender import Sender
from engine.secrets import endpoint_urls
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from engine.secrets.store import SecretStore
from engine.worker.background_service import BackgroundService
from live.event_predicate import EventPredicate
from schema.inputs.filters import events_filter_from_text
from service.server import freeze_gc

WRITES = 500
"""Transactions that are measured, each with the creation of one run."""
ROUNDS = 5
"""Measurements without a relay, and as many with an idle one. The lowest figure counts."""
PACED = 200
"""Runs whose latency is measured, one after the other."""
PACE_SECONDS = 0.02
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Receiver:
    """Answers every request at once, and remembers when the first event of each run arrived."""

    def __init__(self) -> None:
        self.arrivals: dict[str, float] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body = orjson.loads(await reader.readexactly(int(size.partition(b":")[2])))
                self.arrivals.setdefault(body["data"]["run"]["id"], time.perf_counter())
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def got(self, count: int) -> None:
        """Waits for the events of `count` runs."""
        while len(self.arrivals) < count:
            await asyncio.sleep(0.002)


def add_endpoint(uow: UnitOfWork, project_id: UUID, url: str, keys: KeyRing) -> None:
    """Creates an endpoint that gets every change of status."""
    endpoint_id = ids.new_uuid()
    sealed = keys.seal(sealing.new_secret(), sealing.endpoint_context(endpoint_id))
    now = clock.now()
    newest = relay.begin_change(uow)
    values = {"id": endpoint_id, "project_id": project_id, "name": "bench", "run_filter": "{}"}
    values |= endpoint_urls.sealed_columns(keys, url, endpoint_id)
    sent = {"kinds": '["RUN_STATUS_CHANGED", "RUN_ENDED"]', "payloads": False, "enabled": True, "after_seq": newest}
    secret = {"key_id": sealed.key_id, "sealed": sealed.text, "created_at": now, "changed_at": now}
    endpoints.create(uow, {**values, **sent, **secret, "changed_by": SYSTEM.text})


@asynccontextmanager
async def under_way(*services: BackgroundService) -> AsyncIterator[None]:
    """Runs services while the block lasts."""
    tasks = [asyncio.create_task(service.run()) for service in services]
    try:
        yield
    finally:
        for service in services:
            service.stop()
        await asyncio.gather(*tasks)


async def write_cost(database: Database, flow: Flow) -> tuple[float, float]:
    """Returns the time and the CPU time of a transaction that creates a run, in seconds."""
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(WRITES):
        await database.write(enqueue, flow, 1)
    took, used = time.perf_counter() - started, time.process_time() - cpu
    return took / WRITES, used / WRITES


def shown(costs: list[tuple[float, float]]) -> str:
    """Returns the lowest of some costs, as text."""
    took, used = (min(values) for values in zip(*costs, strict=True))
    return f"{took * 1e6:.0f} µs, CPU {used * 1e6:.0f} µs"


async def measure(url: str, count: int) -> None:
    """Measure one database."""
    database = open_database(url)
    flow = await new_flow(database, "bench", NO_OP)
    keys = KeyRing(parse_keys(new_key()))
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    def services() -> tuple[Relay, Deliverer]:
        sender = Sender(allow_private=True, use_proxies=False)
        deliverer = Deliverer(database, sender, SecretStore(database, keys))
        return Relay(database, lambda text: EventPredicate(events_filter_from_text(text))), deliverer

    freeze_gc()
    await write_cost(database, flow)  # warms up
    without, idle = [], []
    for _ in range(ROUNDS):  # in turn, because the machine is not always equally fast
        without.append(await write_cost(database, flow))
        async with under_way(*services()):
            idle.append(await write_cost(database, flow))
    row("a run created, no relay", shown(without))
    row("a run created, no endpoint", shown(idle))
    await database.write(add_endpoint, flow.project_id, receiver_url, keys)
    async with under_way(*services()):
        row("a run created and delivered", shown([await write_cost(database, flow)]))
        await receiver.got(WRITES)
    await database.write(enqueue, flow, count)
    started, cpu = time.perf_counter(), time.process_time()
    async with under_way(*services()):
        await receiver.got(WRITES + count)
        took, used = time.perf_counter() - started, time.process_time() - cpu
        row("a backlog to one endpoint", f"{count / took:,.0f}/s, CPU {used / count * 1e6:.0f} µs")
        row("commit to arrival", spread(await latencies(database, flow, receiver)))
    server.close()
    await database.close()


async def latencies(database: Database, flow: Flow, receiver: Receiver) -> list[float]:
    """Returns the milliseconds from commit to arrival of single events."""
    committed: dict[str, float] = {}
    for _ in range(PACED):
        (run_id,) = await database.write(enqueue, flow, 1)
        committed[ids.encode(IdKind.RUN, run_id)] = time.perf_counter()
        await asyncio.sleep(PACE_SECONDS)
    while not committed.keys() <= receiver.arrivals.keys():
        await asyncio.sleep(0.002)
    return [(receiver.arrivals[key] - at) * 1e3 for key, at in committed.items()]


def main() -> None:
    """Measure one database."""
    arguments: list[Any] = sys.argv[1:]
    count = int(arguments[1]) if len(arguments) > 1 else 5_000
    with tempfile.TemporaryDirectory() if not arguments else nullcontext() as folder:
        url = arguments[0] if arguments else f"sqlite+aiosqlite:///{folder}/bench.db"
        upgrade(url)
        asyncio.run(measure(url, count))


if __name__ == "__main__":
    main()
