import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from db.core import pubsub
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.removal import erasure
from db.runs import cancellation, changes, claims, transitions
from db.runs import reads as run_reads
from db.runs.transitions import Lease
from domain import ids
from domain.enums import RunStatus
from domain.runs.state_machine import FINAL, TRANSITIONS
from domain.time import clock
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import PublishedFlow

PAIRS = list(itertools.product(RunStatus, RunStatus))
ENDINGS = [(source, target) for source, target in PAIRS if target in TRANSITIONS[source] & FINAL]
NO_ENDINGS = [pair for pair in PAIRS if pair not in ENDINGS]
CLAIM = (ids.new_uuid(), START)
"""Lease token of a claim, and the end of its lease."""


def add_held_run(uow: UnitOfWork, published: PublishedFlow, status: RunStatus) -> Lease:
    """Adds a run of a status, with a lease, and returns the lease."""
    token = ids.new_uuid()
    return Lease(factory.make_run(uow, published, status=status, lease_token=token), token)


def row(conn: Connection, lease: Lease) -> Any:
    columns = ("status", "started_at", "finished_at", "updated_at", "due_at", "lease_token", "duration_ms", "output")
    return run_reads.by_ids(conn, [lease.run_id], columns)[lease.run_id]


def history(conn: Connection, lease: Lease) -> list[tuple[Any, ...]]:
    changes = event_log.status_changes_by_runs(conn, [lease.run_id]).get(lease.run_id, [])
    return [(change.from_status, change.to_status, change.message, change.at) for change in changes]


async def test_run_ends_by_each_allowed_transition(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    for source, target in ENDINGS:
        lease = await database.write(add_held_run, published, source)
        await fake_clock.advance(5)
        now = fake_clock.now()
        assert await database.write(transitions.finish, lease, source, target, "It ended", {"duration_ms": 5_000})
        ended = await database.read(row, lease)
        assert (ended.status, ended.finished_at, ended.updated_at) == (target, now, now)
        assert (ended.due_at, ended.lease_token, ended.duration_ms) == (None, None, 5_000)
        assert await database.read(history, lease) == [(source, target, "It ended", now)]


async def test_disallowed_transition_is_refused(database: Database, published: PublishedFlow) -> None:
    for source, target in NO_ENDINGS:
        lease = await database.write(add_held_run, published, source)
        with pytest.raises(ValueError, match=f"{source} → {target}"):
            await database.write(transitions.finish, lease, source, target, "", {})
        assert (await database.read(row, lease)).status == source
        assert await database.read(history, lease) == []


async def test_run_in_other_status_does_not_end(database: Database, published: PublishedFlow) -> None:
    for status, (source, target) in itertools.product(RunStatus, ENDINGS):
        if status is not source:
            lease = await database.write(add_held_run, published, status)
            assert not await database.write(transitions.finish, lease, source, target, "", {"output": "1"})
            assert (await database.read(row, lease)).status == status
            assert await database.read(history, lease) == []


async def test_queued_run_starts(database: Database, published: PublishedFlow, fake_clock: FakeClock) -> None:
    lease = await database.write(add_held_run, published, RunStatus.QUEUED)
    await fake_clock.advance(5)
    now = fake_clock.now()
    await database.write(transitions.claim, {lease.run_id: RunStatus.QUEUED}, *CLAIM)
    begun = await database.read(row, lease)
    assert (begun.status, begun.started_at, begun.updated_at) == ("RUNNING", now, now)
    assert await database.read(history, lease) == [("QUEUED", "RUNNING", "Run started", now)]


async def test_run_that_cannot_start_stays_unchanged(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    others = sorted(FINAL)
    leases = [await database.write(add_held_run, published, status) for status in others]
    before = [await database.read(row, lease) for lease in leases]
    await fake_clock.advance(5)
    await database.write(
        transitions.claim, {lease.run_id: status for lease, status in zip(leases, others, strict=True)}, *CLAIM
    )
    assert [await database.read(row, lease) for lease in leases] == before
    assert [await database.read(history, lease) for lease in leases] == [[]] * len(others)


async def test_run_of_a_lost_worker_gets_another_lease_only(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    lease = await database.write(add_held_run, published, RunStatus.RUNNING)
    before = await database.read(row, lease)
    await fake_clock.advance(5)
    (claimed,) = await database.write(transitions.claim, {lease.run_id: RunStatus.RUNNING}, *CLAIM)
    after = await database.read(row, lease)
    assert (after.lease_token, after.due_at) == CLAIM == (claimed.lease_token, claimed.due_at)
    assert (after.status, after.started_at, after.updated_at) == ("RUNNING", before.started_at, before.updated_at)
    assert (claimed.interruptions, await database.read(history, lease)) == (1, [])


def change_tags(uow: UnitOfWork, lease: Lease) -> None:
    run = changes.lock(uow, lease.run_id)
    assert run is not None
    changes.change(uow, run, {"tags": ["changed"]})


CHANGES: dict[str, tuple[RunStatus, Callable[[UnitOfWork, Lease], object]]] = {
    "claim": (RunStatus.QUEUED, lambda uow, lease: transitions.claim(uow, {lease.run_id: RunStatus.QUEUED}, *CLAIM)),
    "pause": (RunStatus.RUNNING, lambda uow, lease: transitions.pause(uow, lease, "It waits", None)),
    "resume": (RunStatus.PAUSED, lambda uow, lease: transitions.resume(uow, lease.run_id, "It goes on")),
    "finish": (
        RunStatus.RUNNING,
        lambda uow, lease: transitions.finish(uow, lease, RunStatus.RUNNING, RunStatus.FAILED, "", {}),
    ),
    "stop": (RunStatus.QUEUED, lambda uow, lease: cancellation.stop(uow, lease.run_id, "Stopped")),
    "change": (RunStatus.FAILED, change_tags),
    "erase": (RunStatus.FAILED, lambda uow, lease: erasure.erase(uow, [lease.run_id], clock.now())),
}


@pytest.mark.parametrize("name", list(CHANGES))
async def test_no_change_is_before_an_earlier_one(
    database: Database, published: PublishedFlow, fake_clock: FakeClock, name: str
) -> None:
    """Filters rely on it: no run changes before it is created."""
    status, change = CHANGES[name]
    lease = await database.write(add_held_run, published, status)
    before = (await database.read(row, lease)).updated_at
    fake_clock.jump(-3_600)
    await database.write(change, lease)
    assert (await database.read(row, lease)).updated_at == before


async def test_recovery_is_no_earlier_change(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    lease = await database.write(add_held_run, published, RunStatus.FAILED)
    before = (await database.read(row, lease)).updated_at
    retry = await database.write(factory.make_run, published, retry_of_id=lease.run_id)
    fake_clock.jump(-3_600)
    assert await database.write(run_reads.mark_recovered, retry, fake_clock.now())
    assert (await database.read(row, lease)).updated_at == before


def create(uow: UnitOfWork, published: PublishedFlow) -> Lease:
    run_id = ids.new_uuid()
    values = {
        "id": run_id,
        "project_id": published.project_id,
        "flow_id": published.flow_id,
        "flow_version_id": published.version_id,
        "environment": "PRODUCTION",
        "trigger_method": "API",
        "created_at": ids.created_at(run_id),
        "root_run_id": run_id,
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "tags": [],
        "metadata": "{}",
        "input": "{}",
    }
    transitions.create(uow, values, "Flow started")
    return Lease(run_id, run_id)


async def test_created_run_is_queued_and_due_and_signalled(database: Database, published: PublishedFlow) -> None:
    with database.pubsub.subscribe(pubsub.RUNS_DUE) as due_signal:
        lease = await database.write(create, published)
    assert due_signal.is_set()
    created = await database.read(row, lease)
    assert (created.status, created.due_at, created.updated_at) == ("QUEUED", START, START)
    assert (created.started_at, created.finished_at, created.lease_token) == (None, None, None)
    assert await database.read(history, lease) == [(None, "QUEUED", "Flow started", START)]


class RolledBackError(Exception):
    pass


def everything_and_then_fail(uow: UnitOfWork, published: PublishedFlow, queued: Lease, running: Lease) -> None:
    create(uow, published)
    transitions.claim(uow, {queued.run_id: RunStatus.QUEUED}, *CLAIM)
    assert transitions.finish(uow, running, RunStatus.RUNNING, RunStatus.FAILED, "", {})
    raise RolledBackError


async def test_rolled_back_change_appends_no_event_and_sends_no_signal(
    database: Database, published: PublishedFlow
) -> None:
    queued = await database.write(add_held_run, published, RunStatus.QUEUED)
    running = await database.write(add_held_run, published, RunStatus.RUNNING)
    with (
        database.pubsub.subscribe(pubsub.RUNS_DUE) as due,
        database.pubsub.subscribe(pubsub.run_changed(running.run_id)) as changed,
    ):
        with pytest.raises(RolledBackError):
            await database.write(everything_and_then_fail, published, queued, running)
        # The next transaction on the same connection publishes nothing either.
        await database.write(lambda uow: row(uow.conn, queued))
        assert not due.is_set()
        assert not changed.is_set()
    assert (await database.read(row, queued)).status == "QUEUED"
    assert (await database.read(row, running)).status == "RUNNING"
    assert await database.read(history, queued) == await database.read(history, running) == []


async def test_final_status_wakes_only_listeners_of_run(database: Database, published: PublishedFlow) -> None:
    one = await database.write(add_held_run, published, RunStatus.RUNNING)
    other = await database.write(add_held_run, published, RunStatus.RUNNING)
    with (
        database.pubsub.subscribe(pubsub.run_changed(one.run_id)) as own_signal,
        database.pubsub.subscribe(pubsub.run_changed(other.run_id)) as other_signal,
    ):
        await database.write(transitions.finish, one, RunStatus.RUNNING, RunStatus.SUCCEEDED, "", {})
        assert own_signal.is_set()
        assert not other_signal.is_set()


async def test_finish_refuses_values_beyond_result(database: Database, published: PublishedFlow) -> None:
    lease = await database.write(add_held_run, published, RunStatus.RUNNING)
    with pytest.raises(ValueError, match="tags"):
        await database.write(transitions.finish, lease, RunStatus.RUNNING, RunStatus.FAILED, "", {"tags": ["x"]})
    assert (await database.read(row, lease)).status == "RUNNING"


async def test_one_of_concurrent_final_statuses_wins(database: Database, published: PublishedFlow) -> None:
    for _ in range(10):
        lease = await database.write(add_held_run, published, RunStatus.RUNNING)
        targets = [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.STOPPED, RunStatus.TIMEOUT]
        won = await asyncio.gather(
            *(
                database.write(transitions.finish, lease, RunStatus.RUNNING, target, str(target), {})
                for target in targets
            )
        )
        (winner,) = itertools.compress(targets, won)
        assert (await database.read(row, lease)).status == winner
        assert [change[1] for change in await database.read(history, lease)] == [winner]


async def test_final_run_never_changes_status(database: Database, published: PublishedFlow) -> None:
    lease = await database.write(create, published)
    (held,) = await database.write(claims.claim, 1, factory.MINUTE)
    assert await database.write(transitions.finish, held.lease, RunStatus.RUNNING, RunStatus.FAILED, "", {})
    assert not await database.write(transitions.finish, held.lease, RunStatus.RUNNING, RunStatus.SUCCEEDED, "", {})
    await database.write(transitions.claim, {lease.run_id: RunStatus.FAILED}, *CLAIM)
    assert [change[1] for change in await database.read(history, lease)] == ["QUEUED", "RUNNING", "FAILED"]
