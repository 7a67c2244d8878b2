"""The stream of a bulk operation: how it stands, each step, and its end."""

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
    made = Hub(database)
    yield made
    await made.close()


def context(bench: Bench, hub: Hub, *, foreign: bool = False) -> Context:
    project_id = ids.new_uuid() if foreign else bench.project_id
    return Context(bench.database, bench.flows, Viewer(ids.new_uuid(), project_id, Role.VIEWER, "test"), hub=hub)


async def begun(bench: Bench, count: int) -> str:
    """An operation on so many runs that waits for a worker."""
    flow = await bench.publish(transform("a", 1))
    home = Home(bench.project_id, flow.id, flow.version_id)
    made = sorted(await bench.database.write(factory.add_runs, home, [{"status": RunStatus.FAILED}] * count))
    told = {"project_id": bench.project_id, "kind": BulkKind.ARCHIVE, "key_id": made[0], "key_name": "test"}
    held = await bench.database.write(pinning.prepare, {**told, "excluded_ids": "[]"}, LEASE)
    await bench.database.write(pinning.pin, held, made, LEASE, dry_run=False)
    await bench.database.write(pinning.start, held, LEASE)
    await bench.database.write(leases.release, held)
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


async def test_a_subscriber_is_told_how_it_stands_then_each_step_then_its_end(bench: Bench, hub: Hub) -> None:
    operation = await begun(bench, 4)
    listening = asyncio.create_task(told(context(bench, hub), operation))
    with bench.database.signals.listen(pubsub.operation_changed(ids.decode(IdKind.BULK_OPERATION, operation))) as on:
        (first,) = await told(context(bench, hub), operation, most=1)
        runner = BulkWorker(bench.database, chunk_size=1)
        await runner.drain()
        assert on.is_set()
    found = [each for _, each in await listening]
    assert [each["processed"] for each in found][-4:] == [1, 2, 3, 4]
    assert {each["matched"] for each in found} == {4}
    assert [each["status"] for each in found[-2:]] == ["RUNNING", "COMPLETED"]
    assert first[1] == {"status": "RUNNING", "matched": 4, "processed": 0, "succeeded": 0, "skipped": 0, "failed": 0}


async def test_a_cursor_goes_on_behind_what_was_told_and_ends_behind_the_end(bench: Bench, hub: Hub) -> None:
    operation = await begun(bench, 3)
    asked = context(bench, hub)
    ((cursor, _),) = await told(asked, operation, most=1)
    await BulkWorker(bench.database, chunk_size=1).drain()
    missed = await told(asked, operation, cursor)
    assert [each["processed"] for _, each in missed] == [1, 2, 3]
    assert await told(asked, operation, missed[0][0]) == missed[1:]
    assert await told(asked, operation, missed[-1][0]) == []
    assert await told(asked, operation) == missed[-1:]


async def test_a_cancelled_operation_ends_its_streams(bench: Bench, hub: Hub) -> None:
    operation = await begun(bench, 3)
    listening = asyncio.create_task(told(context(bench, hub), operation))
    await bench.database.write(operations.cancel, ids.decode(IdKind.BULK_OPERATION, operation))
    assert (await listening)[-1][1]["status"] == "CANCELLED"


async def test_what_one_does_not_see_is_not_there(bench: Bench, hub: Hub) -> None:
    operation = await begun(bench, 1)
    with pytest.raises(BulkOperationNotFoundError):
        await told(context(bench, hub, foreign=True), operation)
    with pytest.raises(BulkOperationNotFoundError):
        await told(context(bench, hub), f"bulk_{'0' * 32}")
    with pytest.raises(InvalidIdError):
        await told(context(bench, hub), f"run_{'0' * 32}")
    with pytest.raises(InvalidCursorError):
        await told(context(bench, hub), operation, "damaged")
