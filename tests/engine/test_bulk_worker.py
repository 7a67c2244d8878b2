"""Bulk operations at work: chunks, leases, races, faults and pace."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from db import projects
from db.assembly import COMMIT_STEPS, open_database
from db.bulk import operations as bulk_operations
from db.bulk import reads as bulk_reads
from db.bulk.operations import BulkLease, OperationLostError, PipelineConflictError
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import BulkOperation, BulkOutcome, FlowRun, RunEvent
from db.models.types import table
from db.queue import due
from db.runs import reads as run_reads
from db.runs import step_journal, transitions
from db.sql.rows import AnyRow
from domain import clock, ids, json_codec
from domain.bulk import BulkKind, BulkResult, BulkStatus
from domain.enums import RetryStrategy, RunStatus
from domain.ids import IdKind
from domain.run_filter import RunFilter
from domain.state_machine import FINAL
from engine import maintenance
from engine.bulk_worker import CLEAR_UP, LEASE, PLANS_KEPT, BulkWorker, ChunkPipeline
from engine.file_store import FileStore
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.engine import LEASE as RUN_LEASE
from tests.support.engine import Bench, Flow, python, transform
from tests.support.factory import Home

_run = table(FlowRun).c
_outcome = table(BulkOutcome).c
_event = table(RunEvent).c
SECOND = timedelta(seconds=1)


@pytest.fixture
async def bench(database: Database) -> Bench:
    return await Bench.on(database)


@pytest.fixture
async def flow(bench: Bench) -> Flow:
    return await bench.publish(transform("a", 1), transform("b", 2))


async def add(bench: Bench, flow: Flow, *statuses: RunStatus, **values: Any) -> list[UUID]:
    """Runs with these statuses."""
    home = Home(bench.project_id, flow.id, flow.version_id)
    return await bench.database.write(factory.add_runs, home, [{"status": each, **values} for each in statuses])


async def prepared(bench: Bench, kind: BulkKind, run_ids: Sequence[UUID], **values: Any) -> BulkLease:
    """An operation on these runs, which begins now."""
    told = {"project_id": bench.project_id, "kind": kind, "key_id": ids.new_uuid(), "key_name": "test"}
    held = await bench.database.write(bulk_operations.prepare, {**told, "excluded_ids": "[]", **values}, LEASE)
    if run_ids:
        await bench.database.write(bulk_operations.pin, held, sorted(run_ids), LEASE, foretell=False)
    await bench.database.write(bulk_operations.start, held, LEASE)
    return held


async def begun(bench: Bench, kind: BulkKind, run_ids: Sequence[UUID], **values: Any) -> UUID:
    """An operation on these runs that waits for somebody to go on with it."""
    held = await prepared(bench, kind, run_ids, **values)
    await bench.database.write(bulk_operations.release, held)
    return held.operation_id


async def operation(bench: Bench, operation_id: UUID) -> AnyRow:
    columns = {column.name for column in table(BulkOperation).c}
    return (await bench.database.read(bulk_reads.by_ids, [operation_id], columns))[operation_id]


async def counts(bench: Bench, operation_id: UUID) -> tuple[str, int, int, int, int, int]:
    row = await operation(bench, operation_id)
    return row.status, row.matched, row.processed, row.succeeded, row.skipped, row.failed


async def outcomes(bench: Bench, operation_id: UUID) -> dict[UUID, AnyRow]:
    query = select(table(BulkOutcome)).where(_outcome.operation_id == operation_id)
    return {row.run_id: row for row in await bench.database.read(lambda conn: conn.execute(query).all())}


async def events_of(bench: Bench, kind: str) -> Sequence[AnyRow]:
    query = select(table(RunEvent)).where(_event.kind == kind).order_by(_event.seq)
    return await bench.database.read(lambda conn: conn.execute(query).all())


async def retries_of(bench: Bench, run_ids: Sequence[UUID]) -> Sequence[AnyRow]:
    """The retries of these runs, oldest first."""
    query = select(table(FlowRun)).where(_run.retry_of_id.is_not(None)).order_by(_run.id)
    found = await bench.database.read(lambda conn: conn.execute(query).all())
    return [row for row in found if row.retry_of_id in set(run_ids)]


# Chunks


async def test_thousands_of_runs_are_dealt_with_chunk_by_chunk(bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED, RunStatus.QUEUED] * 1_500)
    operation_id = await begun(bench, BulkKind.ARCHIVE, made)
    await BulkWorker(bench.database, chunk=250).work_off()
    assert await counts(bench, operation_id) == ("COMPLETED", 3_000, 3_000, 1_500, 1_500, 0)
    told = [json_codec.decode(row.data) for row in await events_of(bench, event_log.BULK_PROGRESS)]
    assert [each["processed"] for each in told] == [*range(0, 3_001, 250)]
    assert [each["status"] for each in told] == ["RUNNING"] * 12 + ["COMPLETED"]
    archived = await events_of(bench, event_log.RUN_ARCHIVED)
    assert sorted(row.run_id for row in archived) == sorted(made[::2])
    assert {(row.flow_id, row.from_status, row.to_status) for row in archived} == {(flow.id, None, None)}


async def test_what_is_meant_is_read_in_pages(bench: Bench, flow: Flow) -> None:
    made = sorted(await add(bench, flow, *[RunStatus.FAILED] * 25))
    wanted = RunFilter(project_ids=[bench.project_id], statuses=[RunStatus.FAILED])
    selection = bulk_operations.Selection(wanted, None, None, made[3:5], made[-2], clock.now())
    found: list[UUID] = []
    while page := await bench.database.read(bulk_operations.selected_after, selection, found[-1] if found else None, 4):
        assert len(page) <= 4
        found += page
    assert found == [key for key in made[:-1] if key not in made[3:5]]


async def test_an_operation_on_no_run_has_ended_at_once(bench: Bench) -> None:
    held = await prepared(bench, BulkKind.CANCEL, [])
    assert await counts(bench, held.operation_id) == ("COMPLETED", 0, 0, 0, 0, 0)
    assert (await operation(bench, held.operation_id)).finished_at is not None


async def test_operations_take_turns(bench: Bench, flow: Flow) -> None:
    long, short = await add(bench, flow, *[RunStatus.FAILED] * 6), await add(bench, flow, *[RunStatus.SUCCEEDED] * 2)
    first = await begun(bench, BulkKind.ARCHIVE, long)
    second = await begun(bench, BulkKind.ARCHIVE, short)
    await BulkWorker(bench.database, chunk=1).work_off()
    ended = {row.operation_id: row.seq for row in await events_of(bench, event_log.BULK_PROGRESS)}
    assert ended[second] < ended[first]


# Who works on it


async def test_of_two_that_work_on_one_operation_the_later_claim_counts(
    fake_clock: FakeClock, bench: Bench, flow: Flow
) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 4)
    first = await prepared(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION)
    assert not await bench.database.write(bulk_operations.process_chunk, first, 1, LEASE)
    assert await bench.database.write(bulk_operations.claim, LEASE) is None
    await fake_clock.advance(LEASE.total_seconds())
    second = await bench.database.write(bulk_operations.claim, LEASE)
    assert second is not None
    with pytest.raises(OperationLostError):
        await bench.database.write(bulk_operations.process_chunk, first, 4, LEASE)
    with pytest.raises(OperationLostError):
        await bench.database.write(bulk_operations.fail_next, first, LEASE)
    assert await bench.database.write(bulk_operations.process_chunk, second, 4, LEASE)
    assert await ChunkPipeline(bench.database, first).step()
    assert await counts(bench, first.operation_id) == ("COMPLETED", 4, 4, 4, 0, 0)
    assert sorted(row.retry_of_id for row in await retries_of(bench, made)) == sorted(made)


async def test_many_runners_deal_with_each_run_once(bench: Bench, flow: Flow, database_url: str) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 60)
    begun_ids = [
        await begun(bench, BulkKind.RETRY, some, strategy=RetryStrategy.FROM_FAILED_STEP)
        for some in (made[:20], made[20:40], made[40:])
    ]
    others = [open_database(database_url) for _ in range(2)]
    await asyncio.gather(*(BulkWorker(each, chunk=3).work_off() for each in (bench.database, *others)))
    for each in others:
        await each.close()
    for operation_id in begun_ids:
        assert await counts(bench, operation_id) == ("COMPLETED", 20, 20, 20, 0, 0)
    assert Counter(row.retry_of_id for row in await retries_of(bench, made)) == Counter(made)


async def test_a_runner_that_stops_leaves_its_operations_to_others(
    fake_clock: FakeClock, bench: Bench, flow: Flow
) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 3)
    operation_id = await begun(bench, BulkKind.ARCHIVE, made)
    runner = BulkWorker(bench.database, chunk=1)
    assert await runner._turn()
    runner.stop()
    await runner.run()
    assert (await operation(bench, operation_id)).lease_until is None
    await BulkWorker(bench.database).work_off()
    assert await counts(bench, operation_id) == ("COMPLETED", 3, 3, 3, 0, 0)


async def test_a_runner_hears_of_new_operations_and_looks_every_second(
    fake_clock: FakeClock, bench: Bench, flow: Flow
) -> None:
    fake_clock.watch(bench.database)
    made = await add(bench, flow, *[RunStatus.FAILED] * 2)
    runner = BulkWorker(bench.database)
    task = asyncio.create_task(runner.run())
    await fake_clock.settle()
    heard = await begun(bench, BulkKind.ARCHIVE, made)
    await fake_clock.settle()
    assert (await operation(bench, heard)).status == "COMPLETED"
    held = await prepared(bench, BulkKind.UNARCHIVE, made)
    await fake_clock.advance(LEASE.total_seconds() + 1)
    assert (await operation(bench, held.operation_id)).status == "COMPLETED"
    runner.stop()
    await fake_clock.drive(task)


async def test_what_was_left_half_prepared_fails_and_old_plans_are_forgotten(
    fake_clock: FakeClock, bench: Bench, flow: Flow
) -> None:
    fake_clock.watch(bench.database)
    made = sorted(await add(bench, flow, *[RunStatus.FAILED] * 3))
    told = {"project_id": bench.project_id, "kind": BulkKind.ARCHIVE, "key_id": made[0], "key_name": "test"}
    left, planned = [
        await bench.database.write(bulk_operations.prepare, {**told, "excluded_ids": "[]"}, LEASE) for _ in range(2)
    ]
    await bench.database.write(bulk_operations.pin, planned, made, LEASE, foretell=True)
    await bench.database.write(bulk_operations.plan, planned, SECOND)
    runner = BulkWorker(bench.database)
    task = asyncio.create_task(runner.run())
    await fake_clock.advance((LEASE + CLEAR_UP).total_seconds())
    row = await operation(bench, left.operation_id)
    assert (row.status, row.finished_at) == (BulkStatus.FAILED, row.finished_at)
    assert row.finished_at is not None
    assert len(await outcomes(bench, planned.operation_id)) == 3
    fake_clock.block(PLANS_KEPT.total_seconds())
    await fake_clock.advance(2 * CLEAR_UP.total_seconds())
    assert await outcomes(bench, planned.operation_id) == {}
    assert await bench.database.read(bulk_reads.by_ids, [planned.operation_id], set()) == {}
    runner.stop()
    await fake_clock.drive(task)


# Retention


async def test_operations_that_ended_long_ago_are_forgotten_with_their_outcomes(
    fake_clock: FakeClock, bench: Bench, flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_clock.watch(bench.database)
    monkeypatch.setattr(maintenance, "OUTCOME_BATCH", 2)
    made = await add(bench, flow, *[RunStatus.FAILED] * 5)
    old = [await begun(bench, BulkKind.ARCHIVE, made), await begun(bench, BulkKind.CANCEL, [])]
    await BulkWorker(bench.database).work_off()
    read = await begun(bench, BulkKind.ARCHIVE, made)
    await BulkWorker(bench.database).work_off()
    told = {"project_id": bench.project_id, "kind": BulkKind.UNARCHIVE, "key_id": read, "key_name": "test"}
    undoing = {**told, "excluded_ids": "[]", "source_id": read}
    held = await bench.database.write(bulk_operations.prepare, undoing, LEASE)
    fake_clock.block(timedelta(days=7).total_seconds())
    young = await begun(bench, BulkKind.ARCHIVE, made)
    await BulkWorker(bench.database).work_off()
    fake_clock.block(SECOND.total_seconds())
    under_way = await begun(bench, BulkKind.ARCHIVE, made)
    (job,) = [
        each
        for each in maintenance.maintenance_jobs(bench.database, FileStore(str(tmp_path)), None, bulk_days=7)
        if "bulk" in each.name
    ]
    await fake_clock.drive(job.work())
    kept = await bench.database.read(bulk_reads.by_ids, [*old, read, young, under_way], set())
    assert set(kept) == {read, young, under_way}
    assert [len(await outcomes(bench, each)) for each in (*old, read, young, under_way)] == [0, 0, 5, 5, 5]
    # It is gone when nobody reads it any more.
    await bench.database.write(bulk_operations.expire_stale_plans, clock.now(), clock.now(), 10)
    assert (await operation(bench, held.operation_id)).status == "FAILED"
    await fake_clock.drive(job.work())
    assert await bench.database.read(bulk_reads.by_ids, [read], set()) == {}
    assert await outcomes(bench, read) == {}


async def test_without_a_bound_no_operation_is_forgotten(fake_clock: FakeClock, bench: Bench, flow: Flow) -> None:
    operation_id = await begun(bench, BulkKind.ARCHIVE, await add(bench, flow, RunStatus.FAILED))
    await BulkWorker(bench.database).work_off()
    fake_clock.block(timedelta(days=10_000).total_seconds())
    await maintenance.prune_bulk_operations(bench.database, None)
    assert len(await outcomes(bench, operation_id)) == 1


# Two chunks abreast


async def test_chunks_abreast_count_in_their_order(bench: Bench, flow: Flow) -> None:
    made = sorted(await add(bench, flow, *[RunStatus.FAILED] * 6))
    held = await prepared(bench, BulkKind.ARCHIVE, made)
    write = bench.database.write
    with pytest.raises(PipelineConflictError):
        await write(bulk_operations.process_next_chunk, held, made[2], 3, LEASE)
    assert {row.result for row in (await outcomes(bench, held.operation_id)).values()} == {"PENDING"}
    assert await events_of(bench, event_log.RUN_ARCHIVED) == []
    told: list[UUID] = []
    assert not await write(bulk_operations.process_chunk, held, 3, LEASE, told.append)
    assert told == [made[2]]
    assert await write(bulk_operations.process_next_chunk, held, made[2], 3, LEASE)
    assert await counts(bench, held.operation_id) == ("COMPLETED", 6, 6, 6, 0, 0)
    with pytest.raises(OperationLostError):
        await write(bulk_operations.process_next_chunk, held, made[2], 3, LEASE)
    logged = await events_of(bench, event_log.RUN_ARCHIVED)
    assert Counter(row.run_id for row in logged) == Counter(made)


async def test_nothing_goes_ahead_behind_the_last_chunk(bench: Bench, flow: Flow) -> None:
    made = sorted(await add(bench, flow, *[RunStatus.FAILED] * 5))
    held = await prepared(bench, BulkKind.ARCHIVE, made)
    told: list[UUID] = []
    assert not await bench.database.write(bulk_operations.process_chunk, held, 3, LEASE, told.append)
    assert await bench.database.write(bulk_operations.process_chunk, held, 3, LEASE, told.append)
    assert told == [made[2]]
    held = await prepared(bench, BulkKind.UNARCHIVE, made)
    assert not await bench.database.write(bulk_operations.process_next_chunk, held, made[4], 3, LEASE)
    assert await counts(bench, held.operation_id) == ("RUNNING", 5, 0, 0, 0, 0)


async def test_a_chunk_that_has_been_overtaken_by_another_process_changes_nothing(
    fake_clock: FakeClock, bench: Bench, flow: Flow
) -> None:
    made = sorted(await add(bench, flow, *[RunStatus.FAILED] * 4))
    held = await prepared(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION)
    assert not await bench.database.write(bulk_operations.process_chunk, held, 2, LEASE)
    await fake_clock.advance(LEASE.total_seconds())
    later = await bench.database.write(bulk_operations.claim, LEASE)
    assert later is not None
    with pytest.raises(OperationLostError):
        await bench.database.write(bulk_operations.process_next_chunk, held, made[1], 2, LEASE)
    assert await bench.database.write(bulk_operations.process_chunk, later, 2, LEASE)
    assert Counter(row.retry_of_id for row in await retries_of(bench, made)) == Counter(made)


CANCEL_ONE: tuple[BulkKind, RunStatus, dict[str, Any]] = (BulkKind.CANCEL, RunStatus.QUEUED, {})
RETRY_ONE = (BulkKind.RETRY, RunStatus.FAILED, {"strategy": RetryStrategy.ON_LATEST_VERSION})


@pytest.mark.parametrize(
    ("what", "run", "operation", "project"),
    [
        (CANCEL_ONE, {"status": RunStatus.RUNNING}, {}, {}),
        (CANCEL_ONE, {"parent_run_id": UUID(int=1), "root_run_id": UUID(int=1)}, {}, {}),
        (CANCEL_ONE, {}, {}, {"max_concurrent_runs": 3}),
        (RETRY_ONE, {}, {"max_per_second": 1.0}, {}),
        (RETRY_ONE, {}, {}, {"quota_runs": 10, "quota_period": "DAY"}),
    ],
    ids=["what is under way", "a child", "a place", "a pace", "a quota"],
)
async def test_what_may_concern_the_chunk_before_does_not_go_ahead(
    bench: Bench,
    flow: Flow,
    what: tuple[BulkKind, RunStatus, dict[str, Any]],
    run: dict[str, Any],
    operation: dict[str, Any],
    project: dict[str, Any],
) -> None:
    kind, status, values = what
    plain = sorted(await add(bench, flow, status, status))
    others = await add(bench, flow, run.get("status", status))
    changed = update(table(FlowRun)).where(_run.id == others[0]).values({"depth": 0, **run})
    await bench.database.write(lambda uow: uow.conn.execute(changed).rowcount)
    if project:
        await bench.database.write(projects.change, bench.project_id, project)
    held = await prepared(bench, kind, [*plain, *others], **values, **operation)
    assert not await bench.database.write(bulk_operations.process_chunk, held, 2, LEASE)
    with pytest.raises(PipelineConflictError):
        await bench.database.write(bulk_operations.process_next_chunk, held, plain[-1], 2, LEASE)
    assert await counts(bench, held.operation_id) == ("RUNNING", 3, 2, 2, 0, 0)
    await bench.database.write(bulk_operations.release, held)
    await BulkWorker(bench.database, chunk=1).work_off()
    assert await counts(bench, held.operation_id) == ("COMPLETED", 3, 3, 3, 0, 0)


# Races


async def test_a_run_that_ends_before_its_turn_is_skipped(bench: Bench, flow: Flow) -> None:
    run_id = await bench.start(flow)
    claimed = await bench.claim()
    held = await prepared(bench, BulkKind.CANCEL, [run_id])
    done = dict.fromkeys(("output", "failed_step_name", "error_code", "error_message", "error_fingerprint"))
    await bench.database.write(
        transitions.finish, claimed.lease, RunStatus.RUNNING, RunStatus.SUCCEEDED, "Done", {**done, "duration_ms": 1}
    )
    assert await bench.database.write(bulk_operations.process_chunk, held, 10, LEASE)
    assert (await outcomes(bench, held.operation_id))[run_id].reason == "RUN_NOT_CANCELLABLE"
    assert (await bench.run(run_id)).status == "SUCCEEDED"


async def test_a_run_that_was_cancelled_is_lost_to_its_worker(bench: Bench, flow: Flow) -> None:
    run_id = await bench.start(flow)
    claimed = await bench.claim()
    held = await prepared(bench, BulkKind.CANCEL, [run_id])
    assert await bench.database.write(bulk_operations.process_chunk, held, 10, LEASE)
    with pytest.raises(step_journal.LeaseLostError):
        await bench.database.write(step_journal.lock_lease, claimed.lease)
    assert (await outcomes(bench, held.operation_id))[run_id].result == BulkResult.SUCCEEDED
    assert [row.to_status for row in await bench.events(run_id)] == ["QUEUED", "RUNNING", "STOPPED"]


async def test_runs_that_end_while_they_are_cancelled_have_one_end_each(
    bench: Bench, flow: Flow, database_url: str
) -> None:
    made = await bench.start_many(flow, 60)
    claims = await bench.database.write(step_journal.claim, 60, RUN_LEASE)
    operation_id = await begun(bench, BulkKind.CANCEL, made)
    other = open_database(database_url)
    values = {"duration_ms": 1}

    async def finish(lease: Any) -> bool:
        ended = (lease, RunStatus.RUNNING, RunStatus.SUCCEEDED, "Done", values)
        return await other.write(transitions.finish, *ended) is not None

    cancelling = asyncio.create_task(BulkWorker(bench.database, chunk=5).work_off())
    finished = [await finish(each.lease) for each in reversed(claims)]
    await cancelling
    await other.close()
    told = await outcomes(bench, operation_id)
    for claimed, won in zip(reversed(claims), finished, strict=True):
        run_id = claimed.lease.run_id
        assert (told[run_id].result == BulkResult.SKIPPED) is won
        history = [row.to_status for row in await bench.events(run_id)]
        assert history == ["QUEUED", "RUNNING", "SUCCEEDED" if won else "STOPPED"]


@pytest.mark.parametrize("kind", [BulkKind.ARCHIVE, BulkKind.CANCEL])
async def test_two_operations_over_the_same_runs_do_each_thing_once(
    bench: Bench, flow: Flow, database_url: str, kind: BulkKind
) -> None:
    status = RunStatus.FAILED if kind is BulkKind.ARCHIVE else RunStatus.QUEUED
    made = await add(bench, flow, *[status] * 60)
    both = [await begun(bench, kind, made) for _ in range(2)]
    other = open_database(database_url)
    await asyncio.gather(*(BulkWorker(each, chunk=7).work_off() for each in (bench.database, other)))
    await other.close()
    told = [await counts(bench, each) for each in both]
    assert all(each[:3] == ("COMPLETED", 60, 60) for each in told)
    assert sum(succeeded for *_, succeeded, _, _ in told) == 60
    logged = await events_of(bench, event_log.RUN_ARCHIVED if kind is BulkKind.ARCHIVE else event_log.RUN_STATUS)
    assert Counter(row.run_id for row in logged) == Counter(made)


async def test_the_parent_of_a_cancelled_child_goes_on(bench: Bench, flow: Flow) -> None:
    (parent,) = await add(bench, flow, RunStatus.PAUSED, due_at=None)
    (child,) = await add(
        bench, flow, RunStatus.QUEUED, parent_run_id=parent, fail_parent_on_failure=True, root_run_id=parent
    )
    operation_id = await begun(bench, BulkKind.CANCEL, [child])
    await BulkWorker(bench.database).work_off()
    assert (await bench.run(child)).status == "STOPPED"
    row = await bench.run(parent)
    assert (row.status, row.error_code) == ("FAILED", "CHILD_FAILED")
    assert await counts(bench, operation_id) == ("COMPLETED", 1, 1, 1, 0, 0)


async def test_cancelling_ends_what_steps_were_doing(bench: Bench) -> None:
    asking = await bench.publish(python("a", "stamp"))
    made = await add(bench, asking, RunStatus.RUNNING, RunStatus.RUNNING)
    for run_id in made:
        await bench.database.write(factory.add_steps, run_id, [{"status": "RUNNING", "finished_at": None}])
    await begun(bench, BulkKind.CANCEL, made)
    await BulkWorker(bench.database).work_off()
    for run_id in made:
        assert await bench.statuses(run_id) == {"a": "STOPPED"}
        assert [status for *_, status in await bench.tries(run_id)] == ["STOPPED"]
        assert (await bench.run(run_id)).finished_at is not None


async def test_a_run_that_is_cancelled_tells_of_its_steps_before_its_end(bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.RUNNING)
    for run_id in made:
        await bench.database.write(factory.add_steps, run_id, [{}, {"status": "RUNNING", "finished_at": None}])
    await begun(bench, BulkKind.CANCEL, made)
    await BulkWorker(bench.database).work_off()
    ends = select(_event.run_id, _event.kind, _event.to_status, _event.step_name)
    query = ends.where(_event.run_id.in_(made)).order_by(_event.seq)
    told = await bench.database.read(lambda conn: conn.execute(query).all())
    for run_id in made:
        assert [tuple(row[1:]) for row in told if row.run_id == run_id] == [
            (event_log.STEP_STATUS, "STOPPED", "b"),
            (event_log.RUN_STATUS, "STOPPED", None),
        ]


# Faults


class Faulty(Database):
    """Meets a fault in each chunk that has the run `broken` in it."""

    broken = UUID(int=0)

    async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        if work in (bulk_operations.process_chunk, bulk_operations.process_next_chunk):
            return await super().write(self._deal, work, *args)
        return await super().write(work, *args, **kwargs)

    def _deal(self, uow: UnitOfWork, work: Any, *args: Any) -> bool:
        done: bool = work(uow, *args)
        query = select(_outcome.result).where(_outcome.run_id == self.broken)
        if uow.conn.execute(query).scalar() == BulkResult.SUCCEEDED:
            raise RuntimeError("a bug")
        return done


async def test_a_fault_fails_the_run_that_is_at_fault_and_no_other(bench: Bench, flow: Flow, database_url: str) -> None:
    made = sorted(await add(bench, flow, *[RunStatus.FAILED] * 45))
    database = Faulty(database_url, COMMIT_STEPS)
    database.broken = made[23]
    operation_id = await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.FROM_FAILED_STEP)
    await BulkWorker(database, chunk=20).work_off()
    await database.close()
    assert await counts(bench, operation_id) == ("COMPLETED", 45, 45, 44, 0, 1)
    told = await outcomes(bench, operation_id)
    assert {run_id for run_id, row in told.items() if row.result == "FAILED"} == {made[23]}
    assert (told[made[23]].reason, told[made[23]].new_run_id) == ("INTERNAL_ERROR", None)
    assert Counter(row.retry_of_id for row in await retries_of(bench, made)) == Counter(set(made) - {made[23]})
    # What failed is what a later operation can take from this one.
    selection = bulk_operations.Selection(None, operation_id, BulkResult.FAILED, (), None, clock.now())
    assert await bench.database.read(bulk_operations.selected_after, selection, None, 10) == [made[23]]


# Retries


async def test_retries_keep_what_succeeded_and_are_due_at_once(fake_clock: FakeClock, bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 3, failed_step_name="b")
    steps: list[dict[str, Any]] = [{"output": "1"}, {"status": "FAILED", "output": None}]
    for run_id in made:
        await bench.database.write(factory.add_steps, run_id, steps)
    operation_id = await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.FROM_FAILED_STEP)
    await BulkWorker(bench.database).work_off()
    told = await outcomes(bench, operation_id)
    for row in await retries_of(bench, made):
        assert told[row.retry_of_id].new_run_id == row.id
        assert (row.status, row.due_at, row.root_run_id) == ("QUEUED", clock.now(), row.id)
        assert row.retry_operation_id == operation_id
        (kept,) = await bench.steps(row.id)
        assert (kept.name, kept.output, kept.reused_from_id) == ("a", "1", row.retry_of_id)


@pytest.mark.parametrize(
    ("pace", "between"),
    [
        ({"max_per_second": 4.0}, 0.25),
        ({"spread_over_ms": 24_000}, 2.0),
        ({"max_per_second": 4.0, "spread_over_ms": 24_000}, 2.0),
        ({"max_per_second": 0.1, "spread_over_ms": 24_000}, 10.0),
    ],
)
async def test_each_retry_has_a_place_of_its_own_in_time(
    fake_clock: FakeClock, bench: Bench, flow: Flow, pace: dict[str, Any], between: float
) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 12)
    retry = {"strategy": RetryStrategy.ON_LATEST_VERSION, **pace}
    await begun(bench, BulkKind.RETRY, made, **retry)
    start = clock.now()
    runner = BulkWorker(bench.database, chunk=5)
    await runner._turn()
    # The runner is away for a while that is shorter than the places given take.
    fake_clock.block(between)
    await runner.work_off()
    due = [(row.due_at - start).total_seconds() for row in await retries_of(bench, made)]
    assert due == sorted(due)
    for number, at in enumerate(due):
        assert number * between <= at <= (number + 1) * between
    # With jitter.
    assert len({round(after - before, 3) for before, after in pairwise(due)}) > 1


async def test_places_that_nobody_gave_in_time_are_not_made_up_for(
    fake_clock: FakeClock, bench: Bench, flow: Flow
) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 6)
    await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION, max_per_second=1.0)
    runner = BulkWorker(bench.database, chunk=3)
    await runner._turn()
    fake_clock.block(100)
    again = clock.now()
    await runner.work_off()
    late = [(row.due_at - again).total_seconds() for row in await retries_of(bench, made)][3:]
    assert all(number <= at <= number + 1 for number, at in enumerate(late))


async def test_a_paced_retry_is_handed_out_when_it_is_due(fake_clock: FakeClock, bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 3)
    await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION, spread_over_ms=30_000)
    await BulkWorker(bench.database).work_off()
    take = step_journal.claim
    claimed: list[UUID] = []
    for number, row in enumerate(await retries_of(bench, made)):
        fake_clock.block((row.due_at - clock.now()).total_seconds())
        claimed += [each.lease.run_id for each in await bench.database.write(take, 10, 3_600 * SECOND)]
        assert len(claimed) == number + 1
    assert claimed == [row.id for row in await retries_of(bench, made)]


async def test_a_retry_by_hand_goes_before_bulk_work(bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, *[RunStatus.FAILED] * 2)
    await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(bench.database).work_off()
    by_hand = await bench.retry(made[0])
    retries = [*await retries_of(bench, made)]
    assert sorted({row.id: row.priority for row in retries}.values()) == [due.NEW, due.NEW, due.BY_HAND]
    (first,) = await bench.database.write(step_journal.claim, 1, RUN_LEASE)
    assert first.lease.run_id == by_hand


async def test_the_history_of_a_retry_names_the_run_that_it_retries(bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, RunStatus.TIMEOUT)
    await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(bench.database).work_off()
    (row,) = await retries_of(bench, made)
    (told,) = await bench.events(row.id)
    assert told.message == f"Retry of {ids.encode(IdKind.RUN, made[0])} on the latest version"
    assert (told.from_status, told.to_status, told.at) == (None, "QUEUED", row.created_at)


async def test_a_success_of_a_retry_in_bulk_recovers_the_run(bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, RunStatus.FAILED)
    await begun(bench, BulkKind.RETRY, made, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(bench.database).work_off()
    (row,) = await retries_of(bench, made)
    await bench.database.write(run_reads.mark_recovered, row.id)
    assert (await bench.run(made[0])).recovered_by_id == row.id


async def test_what_a_bulk_operation_does_to_runs_is_in_the_log_once(bench: Bench, flow: Flow) -> None:
    made = await add(bench, flow, *[RunStatus.QUEUED] * 5)
    await begun(bench, BulkKind.CANCEL, made)
    await BulkWorker(bench.database, chunk=2).work_off()
    logged = await events_of(bench, event_log.RUN_STATUS)
    # Of two chunks abreast, either may be told first.
    assert sorted((row.run_id, row.from_status, row.to_status) for row in logged) == [
        (run_id, "QUEUED", "STOPPED") for run_id in sorted(made)
    ]
    total = select(func.count()).where(_run.status.in_(sorted(FINAL)))
    assert await bench.database.read(lambda conn: conn.execute(total).scalar_one()) == 5
