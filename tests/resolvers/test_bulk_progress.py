"""The subscription to a bulk operation: its current progress, each chunk, and its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from db.bulk import leases, operations, pinning
from db.core import pubsub
from db.core.database import Database
from domain import ids, json_codec
from domain.bulk import BulkKind
from domain.enums import Role, RunStatus
from domain.errors import BulkOperationNotFoundError, InvalidCursorError, InvalidIdError
from domain.ids import IdKind
from engine.bulk_worker import LEASE, BulkWorker
from live.hub import Hub
from resolvers import subscriptions
from resolvers.context import Context, Viewer
from tests.support import factory
from tests.support.api import PATIENCE
from tests.support.engine import Bench, transform
from tests.support.factory import Home


@pytest.fixture
async def bench(database: Database) -> Bench:
    return await Bench.on(database)


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    hub = Hub(database)
    yield hub
    await hub.close()


def context(bench: Bench, hub: Hub, *, foreign: bool = False) -> Context:
    project_id = ids.new_uuid() if foreign else bench.project_id
    return Context(bench.database, bench.flows, Viewer(ids.new_uuid(), project_id, Role.VIEWER, "test"), hub=hub)


async def start_operation(bench: Bench, count: int) -> str:
    """Start an operation on `count` runs that waits for a worker."""
    flow = await bench.publish(transform("a", 1))
    home = Home(bench.project_id, flow.id, flow.version_id)
    run_ids = sorted(await bench.database.write(factory.add_runs, home, [{"status": RunStatus.FAILED}] * count))
    row = {"project_id": bench.project_id, "kind": BulkKind.ARCHIVE, "key_id": run_ids[0], "key_name": "test"}
    lease = await bench.database.write(pinning.prepare, {**row, "excluded_ids": "[]"}, LEASE)
    await bench.database.write(pinning.pin, lease, run_ids, LEASE, dry_run=False)
    await bench.database.write(pinning.start, lease, LEASE)
    await bench.database.write(leases.release, lease)
    return ids.encode(IdKind.BULK_OPERATION, lease.operation_id)


async def received(
    viewer_context: Context, operation: str, after: str | None = None, limit: int = 100
) -> list[tuple[str, Any]]:
    """Return what a subscriber receives until the end: cursors and progress."""
    events: list[tuple[str, Any]] = []
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(subscriptions.bulk_progress(viewer_context, operation, after)) as progress,
    ):
        async for item in progress:
            events.append((subscriptions.cursor_of(item), json_codec.decode(item.event.row.data)))
            if len(events) == limit:
                break
    return events


async def test_subscriber_receives_the_current_progress_then_each_chunk_then_the_end(bench: Bench, hub: Hub) -> None:
    operation = await start_operation(bench, 4)
    listening = asyncio.create_task(received(context(bench, hub), operation))
    with bench.database.signals.listen(pubsub.operation_changed(ids.decode(IdKind.BULK_OPERATION, operation))) as on:
        (first,) = await received(context(bench, hub), operation, limit=1)
        worker = BulkWorker(bench.database, chunk_size=1)
        await worker.drain()
        assert on.is_set()
    progress = [data for _, data in await listening]
    assert [data["processed"] for data in progress][-4:] == [1, 2, 3, 4]
    assert {data["matched"] for data in progress} == {4}
    assert [data["status"] for data in progress[-2:]] == ["RUNNING", "COMPLETED"]
    assert first[1] == {"status": "RUNNING", "matched": 4, "processed": 0, "succeeded": 0, "skipped": 0, "failed": 0}


async def test_cursor_resumes_after_its_event_and_ends_after_the_end(bench: Bench, hub: Hub) -> None:
    operation = await start_operation(bench, 3)
    viewer_context = context(bench, hub)
    ((cursor, _),) = await received(viewer_context, operation, limit=1)
    await BulkWorker(bench.database, chunk_size=1).drain()
    missed = await received(viewer_context, operation, cursor)
    assert [data["processed"] for _, data in missed] == [1, 2, 3]
    assert await received(viewer_context, operation, missed[0][0]) == missed[1:]
    assert await received(viewer_context, operation, missed[-1][0]) == []
    assert await received(viewer_context, operation) == missed[-1:]


async def test_cancelled_operation_ends_its_subscriptions(bench: Bench, hub: Hub) -> None:
    operation = await start_operation(bench, 3)
    listening = asyncio.create_task(received(context(bench, hub), operation))
    await bench.database.write(operations.cancel, ids.decode(IdKind.BULK_OPERATION, operation))
    assert (await listening)[-1][1]["status"] == "CANCELLED"


async def test_operation_that_the_viewer_cannot_see_is_not_found(bench: Bench, hub: Hub) -> None:
    operation = await start_operation(bench, 1)
    with pytest.raises(BulkOperationNotFoundError):
        await received(context(bench, hub, foreign=True), operation)
    with pytest.raises(BulkOperationNotFoundError):
        await received(context(bench, hub), f"bulk_{'0' * 32}")
    with pytest.raises(InvalidIdError):
        await received(context(bench, hub), f"run_{'0' * 32}")
    with pytest.raises(InvalidCursorError):
        await received(context(bench, hub), operation, "damaged")
