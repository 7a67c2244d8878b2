"""Several processes on one database: each has its own tailer, and all deliver the same events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from db.assembly import open_database
from db.core import pg_notify
from db.core.database import Database
from db.events import log as event_log
from live.events import CaughtUp, MatchedEvent
from live.hub import Hub
from tests.live.hub.harness import ALL, END, receive_to_the_end
from tests.support.clock import FakeClock
from tests.support.worker import Flow, WorkerHarness, transform

PATIENCE = 60.0


@asynccontextmanager
async def process(url: str) -> AsyncIterator[tuple[Database, Hub]]:
    """A database with a hub that receives the wake-ups of other processes, as in a process of the service."""
    database = open_database(url)
    hub = Hub(database)
    try:
        async with pg_notify.listen_for_other_processes(database, url):
            yield database, hub
        await hub.close()
    finally:
        await database.close()


async def start_many(worker: WorkerHarness, flow: Flow, times: int) -> None:
    for _ in range(times):
        await worker.start_many(flow, 3)


async def test_subscribers_of_two_processes_receive_the_same_order(database_url: str) -> None:
    """Both processes write in several tasks; each has two subscribers: one from now on, one from the first position."""
    async with process(database_url) as (one, hub), process(database_url) as (other, other_hub):
        workers = await WorkerHarness.on(one), await WorkerHarness.on(other)
        flows = [await worker.publish(transform("only", 1)) for worker in workers]
        live = [each.subscribe(ALL, None) for each in (hub, other_hub)]
        starts = []
        for feed in live:
            first = await anext(feed)
            assert isinstance(first, CaughtUp)
            starts.append(first.position)
        missed = [each.subscribe(ALL, max(starts)) for each in (hub, other_hub)]
        async with asyncio.timeout(PATIENCE):
            receiving = [asyncio.create_task(receive_to_the_end(feed)) for feed in (*live, *missed)]
            work = [start_many(worker, flow, 20) for worker, flow in zip(workers, flows, strict=True) for _ in range(3)]
            await asyncio.gather(*work)
            await other.write(event_log.append, [await last(workers[1], flows[1])])
            received = [await each for each in receiving]
        assert len(received[0]) == 2 * 3 * 20 * 3 + 2
        assert received[0] == sorted(set(received[0]))
        assert all(each == received[0] for each in received)
        for feed in (*live, *missed):
            await feed.aclose()


async def last(worker: WorkerHarness, flow: Flow) -> dict[str, object]:
    """The event behind all others."""
    run_id = await worker.start(flow)
    (event,) = await worker.events(run_id)
    subject = {"run_id": run_id, "project_id": worker.project_id, "flow_id": flow.id}
    change = {"kind": event_log.RUN_STATUS, "from_status": "QUEUED", "to_status": "RUNNING", "message": END}
    return {**subject, **change, "at": event.at}


async def test_event_of_another_process_arrives_without_waiting_for_the_next_read(
    database_url: str, dialect: str, fake_clock: FakeClock
) -> None:
    """Time stands still, so the tailer, which polls every second, does not poll after its first read."""
    if dialect == "postgresql":
        # Tested in tests/db/core/test_pg_notify.py; other transactions of the server may delay events until a later
        # poll.
        return
    async with process(database_url) as (_, hub), process(database_url) as (writer, _):
        worker = await WorkerHarness.on(writer)
        flow = await worker.publish(transform("only", 1))
        async with aclosing(hub.subscribe(ALL, None)) as feed:
            assert isinstance(await anext(feed), CaughtUp)
            for _ in range(3):
                run_id = await worker.start(flow)
                async with asyncio.timeout(PATIENCE):
                    item = await anext(feed)
                assert isinstance(item, MatchedEvent)
                assert item.event.row.run_id == run_id
