"""Holds: runs of what is held queue up and start in their order afterwards, and nobody else waits for them."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from db.core.database import Database
from db.models import FlowRun, StartHold
from db.models.types import table
from db.queue import holds, slots
from db.runs import cancellation
from domain.actor import SYSTEM
from domain.enums import RunStatus, TriggerMethod, WaitKind
from domain.runs.wait import wait_kind
from domain.time import clock
from engine.worker.maintenance import rescue_waiting_runs
from tests.support.slot_harness import SlotHarness

_RUN = table(FlowRun).c


async def hold(harness: SlotHarness, scope: str, flow_id: UUID | None = None) -> None:
    published = harness.published
    of_flow = (flow_id or published.flow_id) if scope == "flow" else None
    await harness.database.write(holds.hold, published.project_id, of_flow, "maintenance", SYSTEM)


async def release(harness: SlotHarness, scope: str) -> None:
    published = harness.published
    of_flow = published.flow_id if scope == "flow" else None
    ended = await harness.database.write(holds.release, published.project_id, of_flow)
    assert ended is not None
    while await harness.database.write(holds.release_queue, ended.id):
        pass


async def wait_of(harness: SlotHarness, run_id: UUID) -> WaitKind | None:
    return wait_kind(await harness.run(run_id), clock.now())


async def number_of(database: Database, model: Any) -> int:
    query = select(func.count()).select_from(table(model))
    found: int = await database.read(lambda conn: conn.execute(query).scalar_one())
    return found


@pytest.mark.parametrize("scope", ["flow", "project"])
async def test_starts_wait_for_the_release_and_keep_their_order(database: Database, scope: str) -> None:
    harness = await SlotHarness.on(database)
    other = await harness.another_flow()
    under_way, suspended = await harness.start(2)
    first, second = await harness.claim()
    await harness.pause(second.lease)
    await hold(harness, scope)
    held = [*await harness.start(3), *await harness.start(1, trigger_method=TriggerMethod.RERUN)]
    free = await harness.start(1, other)
    claimed = await harness.claimed()
    assert claimed == (free if scope == "flow" else [])
    assert await wait_of(harness, held[0]) is WaitKind.RELEASE
    assert await harness.due() == set()  # the next claim does not read them again
    # What has started goes on: a paused run is resumed, and a retry of a step comes when it is due.
    assert await harness.resume(suspended)
    assert await harness.claimed() == [suspended]
    await harness.finish(first.lease)
    assert (await harness.run(under_way)).status == RunStatus.SUCCEEDED
    # A run that is cancelled leaves the queue.
    assert (await database.write(cancellation.stop, held[1], "Cancelled")).run
    await release(harness, scope)
    assert await number_of(database, StartHold) == 0
    assert await harness.claimed(1) == held[3:]  # its priority stays
    assert await harness.claimed() == [held[0], held[2], *([] if scope == "flow" else free)]


async def test_hold_of_a_flow_outlasts_that_of_its_project(database: Database) -> None:
    harness = await SlotHarness.on(database)
    await hold(harness, "project")
    await hold(harness, "flow")
    again = await database.write(
        holds.hold, harness.published.project_id, harness.published.flow_id, "another reason", SYSTEM
    )
    assert again is not None
    (run,) = await harness.start()
    assert await harness.claimed() == []
    await release(harness, "project")
    assert await harness.claimed() == []
    await hold(harness, "project")
    await release(harness, "flow")
    assert await harness.claimed() == []  # now it waits for the project
    assert await wait_of(harness, run) is WaitKind.RELEASE
    await release(harness, "project")
    assert await harness.claimed() == [run]
    assert await database.write(holds.release, harness.published.project_id, None) is None


async def test_held_starts_do_not_keep_slots_from_others(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1, project=2)
    other = await harness.another_flow()
    (running,) = await harness.start()
    (claim,) = await harness.claim()
    waiting = await harness.start(2)
    assert await harness.claimed() == []
    assert await wait_of(harness, waiting[0]) is WaitKind.SLOT
    await hold(harness, "flow")
    # The slot goes to a run that may start, not to one that is held.
    beside = await harness.start(2, other)
    assert await harness.claimed() == beside[:1]
    await harness.finish(claim.lease)
    assert await harness.claimed() == beside[1:]
    assert [await wait_of(harness, run) for run in waiting] == [WaitKind.RELEASE] * 2
    await rescue_waiting_runs(database)
    assert await harness.claimed() == []
    await release(harness, "flow")
    await harness.limit_project(None)
    assert await harness.claimed() == waiting[:1]
    assert await wait_of(harness, waiting[1]) is WaitKind.SLOT
    assert (await harness.run(running)).status == RunStatus.SUCCEEDED


async def test_paused_run_gets_its_slot_past_held_starts(database: Database) -> None:
    harness = await SlotHarness.on(database, flow=1)
    (suspended,) = await harness.start()
    (claim,) = await harness.claim()
    await harness.pause(claim.lease)
    (running,) = await harness.start()
    (other,) = await harness.claim()
    held = await harness.start(5)
    assert await harness.claimed() == []  # they wait for the slot
    await hold(harness, "flow")
    assert await harness.resume(suspended)
    await harness.finish(other.lease)
    assert await harness.claimed() == [suspended]
    assert {await wait_of(harness, run) for run in held} == {WaitKind.RELEASE}
    assert (await harness.run(running)).status == RunStatus.SUCCEEDED


async def test_release_of_a_process_that_died_is_finished_by_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_BATCH", 2)
    harness = await SlotHarness.on(database)
    await hold(harness, "flow")
    runs = await harness.start(5)
    for _ in range(3):
        assert await harness.claimed() == []
    assert await database.read(holds.ended) == []
    ended = await database.write(holds.release, harness.published.project_id, harness.published.flow_id)
    assert ended is not None
    assert await database.read(holds.ended) == [ended.id]
    await rescue_waiting_runs(database)
    assert await harness.claimed() == runs
    assert await number_of(database, StartHold) == 0


async def test_drain_is_one_row_and_no_hold_that_ended(database: Database) -> None:
    harness = await SlotHarness.on(database)
    await harness.start(2)
    await harness.claim(1)
    assert await database.read(holds.executing) == 1
    assert await database.write(holds.drain, "maintenance", SYSTEM)
    assert not await database.write(holds.drain, "again", SYSTEM)
    assert await database.read(holds.is_drained)
    await rescue_waiting_runs(database)
    assert await database.read(holds.drained_since) is not None
    assert await database.write(holds.undrain)
    assert not await database.write(holds.undrain)
    assert not await database.read(holds.is_drained)
