"""Workers that are killed between an event and its delivery: nothing is lost, and every repetition is recognised."""

from pathlib import Path

from db.deliveries import queue, relay
from domain.time import clock
from tests.engine.deliveries.conftest import Sending
from tests.engine.worker.worker_pool import WorkerPool
from tests.engine.worker.worker_process import WorkerSpec

KILLED = -9


async def test_workers_killed_anywhere_between_event_and_delivery_lose_none(
    sending: Sending, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    await sending.endpoint()
    runs = []
    # The first write stores the deliveries, the second claims them, the third records what was sent.
    for number, when in ((1, "after"), (2, "after"), (3, "before")):
        runs.append(await sending.run())
        log, key = str(tmp_path / "log"), sending.secret_key
        spec = WorkerSpec(sending.database_url, log, secret_keys=key, kill_at=number, when=when)
        assert await worker_pool.ended(await worker_pool.start(spec)) == KILLED
        # As if the time of the leases had passed.
        await sending.app.database.write(relay.release, None)
        await sending.app.database.write(queue.release, None, clock.now())
    await sending.send()
    assert {each["status"] for each in await sending.log()} == {"DELIVERED"}
    ids_by_run: dict[str, set[str]] = {}
    for got in sending.receiver.requests:
        ids_by_run.setdefault(got.json["data"]["run"]["id"], set()).add(got.id)
    assert set(ids_by_run) == set(runs)
    assert {len(found) for found in ids_by_run.values()} == {1}
