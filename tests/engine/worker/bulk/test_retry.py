"""Bulk retry and its pace."""

from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from db.events import log as event_log
from db.queue import due
from db.runs import claims
from db.runs import reads as run_reads
from domain import ids
from domain.bulk import BulkKind
from domain.enums import RetryStrategy, RunStatus
from domain.ids import IdKind
from domain.runs.state_machine import FINAL
from domain.time import clock
from engine.worker.bulk_worker import BulkWorker
from tests.engine.worker.bulk.harness import SECOND, _run, add, events_of, outcomes, retries_of, start_operation
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.worker import LEASE as RUN_LEASE
from tests.support.worker import Flow, WorkerHarness


async def test_retries_keep_succeeded_steps(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 3, failed_step_name="b")
    steps: list[dict[str, Any]] = [{"output": "1"}, {"status": "FAILED", "output": None}]
    for run_id in run_ids:
        await worker.database.write(factory.make_steps, run_id, steps)
    operation_id = await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.FROM_FAILED_STEP)
    await BulkWorker(worker.database).drain()
    by_run = await outcomes(worker, operation_id)
    for row in await retries_of(worker, run_ids):
        assert by_run[row.retry_of_id].new_run_id == row.id
        assert (row.status, row.due_at, row.root_run_id) == ("QUEUED", clock.now(), row.id)
        assert row.retry_operation_id == operation_id
        (kept,) = await worker.steps(row.id)
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
async def test_each_paced_retry_is_due_in_its_own_interval(
    fake_clock: FakeClock, worker: WorkerHarness, flow: Flow, pace: dict[str, Any], between: float
) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 12)
    retry = {"strategy": RetryStrategy.ON_LATEST_VERSION, **pace}
    await start_operation(worker, BulkKind.RETRY, run_ids, **retry)
    start = clock.now()
    bulk_worker = BulkWorker(worker.database, chunk_size=5)
    await bulk_worker.process_turn()
    # The worker pauses for less time than the intervals given so far take.
    fake_clock.block(between)
    await bulk_worker.drain()
    due = [(row.due_at - start).total_seconds() for row in await retries_of(worker, run_ids)]
    assert due == sorted(due)
    for number, at in enumerate(due):
        assert number * between <= at <= (number + 1) * between
    # Jitter makes the distances unequal.
    assert len({round(after - before, 3) for before, after in pairwise(due)}) > 1


async def test_missed_intervals_are_not_made_up_for(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 6)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION, max_per_second=1.0)
    bulk_worker = BulkWorker(worker.database, chunk_size=3)
    await bulk_worker.process_turn()
    fake_clock.block(100)
    again = clock.now()
    await bulk_worker.drain()
    late = [(row.due_at - again).total_seconds() for row in await retries_of(worker, run_ids)][3:]
    assert all(number <= at <= number + 1 for number, at in enumerate(late))


async def test_paced_retry_is_claimed_when_it_is_due(fake_clock: FakeClock, worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 3)
    await start_operation(
        worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION, spread_over_ms=30_000
    )
    await BulkWorker(worker.database).drain()
    claim = claims.claim
    claimed: list[UUID] = []
    for number, row in enumerate(await retries_of(worker, run_ids)):
        fake_clock.block((row.due_at - clock.now()).total_seconds())
        claimed += [run.lease.run_id for run in await worker.database.write(claim, 10, 3_600 * SECOND)]
        assert len(claimed) == number + 1
    assert claimed == [row.id for row in await retries_of(worker, run_ids)]


async def test_single_retry_is_claimed_before_bulk_retries(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.FAILED] * 2)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(worker.database).drain()
    by_hand = await worker.retry(run_ids[0])
    assert sorted(row.priority for row in await retries_of(worker, run_ids)) == [due.NEW, due.NEW, due.INTERACTIVE]
    (first,) = await worker.database.write(claims.claim, 1, RUN_LEASE)
    assert first.lease.run_id == by_hand


async def test_history_of_a_retry_names_the_retried_run(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, RunStatus.TIMEOUT)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(worker.database).drain()
    (row,) = await retries_of(worker, run_ids)
    (event,) = await worker.events(row.id)
    assert event.message == f"Retry of {ids.encode(IdKind.RUN, run_ids[0])} on the latest version"
    assert (event.from_status, event.to_status, event.at) == (None, "QUEUED", row.created_at)


async def test_successful_bulk_retry_recovers_the_run(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, RunStatus.FAILED)
    await start_operation(worker, BulkKind.RETRY, run_ids, strategy=RetryStrategy.ON_LATEST_VERSION)
    await BulkWorker(worker.database).drain()
    (row,) = await retries_of(worker, run_ids)
    await worker.database.write(run_reads.mark_recovered, row.id, clock.now())
    assert (await worker.run(run_ids[0])).recovered_by_id == row.id


async def test_each_change_of_a_bulk_operation_is_logged_once(worker: WorkerHarness, flow: Flow) -> None:
    run_ids = await add(worker, flow, *[RunStatus.QUEUED] * 5)
    await start_operation(worker, BulkKind.CANCEL, run_ids)
    await BulkWorker(worker.database, chunk_size=2).drain()
    logged = await events_of(worker, event_log.RUN_STATUS)
    # Of two pipelined chunks, either may log its events first.
    assert sorted((row.run_id, row.from_status, row.to_status) for row in logged) == [
        (run_id, "QUEUED", "STOPPED") for run_id in sorted(run_ids)
    ]
    total = select(func.count()).where(_run.status.in_(sorted(FINAL)))
    assert await worker.database.read(lambda conn: conn.execute(total).scalar_one()) == 5
