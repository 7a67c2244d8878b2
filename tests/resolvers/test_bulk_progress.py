"""The stream of a bulk operation: how it stands, each step, and its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from db.bulk import operations as bulk_operations
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
from tests.support.app import PATIENCE
from tests.support.factory import PublishedFlow
from tests.support.worker import WorkerHarness, transform


@pytest.fixture
async def worker(database: Database) -> WorkerHarness:
    return await WorkerHarness.on(database)


@pytest.fixture
async def hub(database: Database) -> AsyncIterator[Hub]:
    made = Hub(database)
    yield made
    await made.close()


def context(worker: WorkerHarness, hub: Hub, *, foreign: bool = False) -> Context:
    project_id = ids.new_uuid() if foreign else worker.project_id
    return Context(worker.database, worker.flows, Viewer(ids.new_uuid(), project_id, Role.VIEWER, "test"), hub=hub)


async def begun(worker: WorkerHarness, count: int) -> str:
    """An operation on so many runs that waits for a worker."""
    flow = await worker.publish(transform("a", 1))
    published = PublishedFlow(worker.project_id, flow.id, flow.version_id)
    made = sorted(await worker.database.write(factory.make_runs, published, [{"status": RunStatus.FAILED}] * count))
    told = {"project_id": worker.project_id, "kind": BulkKind.ARCHIVE, "key_id": made[0], "key_name": "test"}
    held = await worker.database.write(bulk_operations.prepare, {**told, "excluded_ids": "[]"}, LEASE)
    await worker.database.write(bulk_operations.pin, held, made, LEASE, foretell=False)
    await worker.database.write(bulk_operations.start, held, LEASE)
    await worker.database.write(bulk_operations.release, held)
    return ids.encode(IdKind.BULK_OPERATION, held.operation_id)


async def told(asked: Context, operation: str, after: str | None = None, most: int = 100) -> list[tuple[str, Any]]:
    """What a subscriber is told until the end: cursors, and how the operation stood."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(PATIENCE), aclosing(subscriptions.bulk_progress(asked, operation, after)) as progress:
        async for item in progress:
            found.append((subscriptions.cursor_of(item), json_codec.decode(item.event.row.data)))
            if len(found) == most:
                break
    return found


async def test_a_subscriber_is_told_how_it_stands_then_each_step_then_its_end(worker: WorkerHarness, hub: Hub) -> None:
    operation = await begun(worker, 4)
    listening = asyncio.create_task(told(context(worker, hub), operation))
    with worker.database.signals.listen(pubsub.operation_changed(ids.decode(IdKind.BULK_OPERATION, operation))) as on:
        (first,) = await told(context(worker, hub), operation, most=1)
        runner = BulkWorker(worker.database, chunk=1)
        await runner.work_off()
        assert on.is_set()
    found = [each for _, each in await listening]
    assert [each["processed"] for each in found][-4:] == [1, 2, 3, 4]
    assert {each["matched"] for each in found} == {4}
    assert [each["status"] for each in found[-2:]] == ["RUNNING", "COMPLETED"]
    assert first[1] == {"status": "RUNNING", "matched": 4, "processed": 0, "succeeded": 0, "skipped": 0, "failed": 0}


async def test_a_cursor_goes_on_behind_what_was_told_and_ends_behind_the_end(worker: WorkerHarness, hub: Hub) -> None:
    operation = await begun(worker, 3)
    asked = context(worker, hub)
    ((cursor, _),) = await told(asked, operation, most=1)
    await BulkWorker(worker.database, chunk=1).work_off()
    missed = await told(asked, operation, cursor)
    assert [each["processed"] for _, each in missed] == [1, 2, 3]
    assert await told(asked, operation, missed[0][0]) == missed[1:]
    assert await told(asked, operation, missed[-1][0]) == []
    assert await told(asked, operation) == missed[-1:]


async def test_a_cancelled_operation_ends_its_streams(worker: WorkerHarness, hub: Hub) -> None:
    operation = await begun(worker, 3)
    listening = asyncio.create_task(told(context(worker, hub), operation))
    await worker.database.write(bulk_operations.cancel, ids.decode(IdKind.BULK_OPERATION, operation))
    assert (await listening)[-1][1]["status"] == "CANCELLED"


async def test_what_one_does_not_see_is_not_there(worker: WorkerHarness, hub: Hub) -> None:
    operation = await begun(worker, 1)
    with pytest.raises(BulkOperationNotFoundError):
        await told(context(worker, hub, foreign=True), operation)
    with pytest.raises(BulkOperationNotFoundError):
        await told(context(worker, hub), f"bulk_{'0' * 32}")
    with pytest.raises(InvalidIdError):
        await told(context(worker, hub), f"run_{'0' * 32}")
    with pytest.raises(InvalidCursorError):
        await told(context(worker, hub), operation, "damaged")
