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
from engine.worker.bulk_worker import LEASE, BulkWorker
from live.events import LogItem, MatchedEvent
from live.hub import Hub
from resolvers import subscriptions
from resolvers.context import Context, Viewer
from tests.support import factory
from tests.support.app import PATIENCE
from tests.support.factory import PublishedFlow
from tests.support.worker import WorkerHarness, transform


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    hub = Hub(database)
    yield hub
    await hub.close()


def context(worker: WorkerHarness, hub: Hub, *, foreign: bool = False) -> Context:
    project_id = ids.new_uuid() if foreign else worker.project_id
    return Context(worker.database, worker.flows, Viewer(ids.new_uuid(), project_id, Role.VIEWER, "test"), hub=hub)


async def start_operation(worker: WorkerHarness, count: int) -> str:
    """Start an operation on `count` runs that waits for a worker."""
    flow = await worker.publish(transform("a", 1))
    published = PublishedFlow(worker.project_id, flow.id, flow.version_id)
    run_ids = sorted(await worker.database.write(factory.make_runs, published, [{"status": RunStatus.FAILED}] * count))
    row = {"project_id": worker.project_id, "kind": BulkKind.ARCHIVE, "key_id": run_ids[0], "key_name": "test"}
    lease = await worker.database.write(pinning.prepare, {**row, "excluded_ids": "[]"}, LEASE)
    await worker.database.write(pinning.pin, lease, run_ids, LEASE, dry_run=False)
    await worker.database.write(pinning.start, lease, LEASE)
    await worker.database.write(leases.release, lease)
    return ids.encode(IdKind.BULK_OPERATION, lease.operation_id)


def cursor_and_progress(item: LogItem) -> tuple[str, Any]:
    assert isinstance(item, MatchedEvent)
    return subscriptions.encode_position(item.position), json_codec.decode(item.row.data)


async def received(
    viewer_context: Context, operation: str, after: str | None = None, limit: int = 100
) -> list[tuple[str, Any]]:
    """Returns the events that a subscriber receives until the end: cursors and progress."""
    events: list[tuple[str, Any]] = []
    stream = await subscriptions.bulk_progress(viewer_context, operation, after, cursor_and_progress)
    async with asyncio.timeout(PATIENCE), aclosing(stream):
        async for event in stream:
            events.append(event)
            if len(events) == limit:
                break
    return events


async def test_subscriber_receives_the_current_progress_then_each_chunk_then_the_end(
    worker: WorkerHarness, hub: Hub
) -> None:
    operation = await start_operation(worker, 4)
    listening = asyncio.create_task(received(context(worker, hub), operation))
    with worker.database.pubsub.subscribe(pubsub.operation_changed(ids.decode(IdKind.BULK_OPERATION, operation))) as on:
        (first,) = await received(context(worker, hub), operation, limit=1)
        bulk_worker = BulkWorker(worker.database, chunk_size=1)
        await bulk_worker.drain()
        assert on.is_set()
    progress = [data for _, data in await listening]
    assert [data["processed"] for data in progress][-4:] == [1, 2, 3, 4]
    assert {data["matched"] for data in progress} == {4}
    assert [data["status"] for data in progress[-2:]] == ["RUNNING", "COMPLETED"]
    assert first[1] == {"status": "RUNNING", "matched": 4, "processed": 0, "succeeded": 0, "skipped": 0, "failed": 0}


async def test_cursor_resumes_after_its_event_and_ends_after_the_end(worker: WorkerHarness, hub: Hub) -> None:
    operation = await start_operation(worker, 3)
    viewer_context = context(worker, hub)
    ((cursor, _),) = await received(viewer_context, operation, limit=1)
    await BulkWorker(worker.database, chunk_size=1).drain()
    missed = await received(viewer_context, operation, cursor)
    assert [data["processed"] for _, data in missed] == [1, 2, 3]
    assert await received(viewer_context, operation, missed[0][0]) == missed[1:]
    assert await received(viewer_context, operation, missed[-1][0]) == []
    assert await received(viewer_context, operation) == missed[-1:]


async def test_cancelled_operation_ends_its_subscriptions(worker: WorkerHarness, hub: Hub) -> None:
    operation = await start_operation(worker, 3)
    listening = asyncio.create_task(received(context(worker, hub), operation))
    await worker.database.write(operations.cancel, ids.decode(IdKind.BULK_OPERATION, operation))
    assert (await listening)[-1][1]["status"] == "CANCELLED"


async def test_operation_that_the_viewer_cannot_see_is_not_found(worker: WorkerHarness, hub: Hub) -> None:
    operation = await start_operation(worker, 1)
    with pytest.raises(BulkOperationNotFoundError):
        await received(context(worker, hub, foreign=True), operation)
    with pytest.raises(BulkOperationNotFoundError):
        await received(context(worker, hub), f"bulk_{'0' * 32}")
    with pytest.raises(InvalidIdError):
        await received(context(worker, hub), f"run_{'0' * 32}")
    with pytest.raises(InvalidCursorError):
        await received(context(worker, hub), operation, "damaged")
