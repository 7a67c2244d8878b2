"""Workers as real processes that are killed, stopped and shut down, and the resumption of their runs by others."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from db.assembly import open_database
from db.bulk import chunks, leases, pinning
from db.bulk import reads as bulk_reads
from db.core import pubsub
from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.runs import claims
from db.sql.rows import AnyRow
from domain import json_codec
from domain.bulk import BulkKind
from domain.enums import RetryStrategy, RunStatus
from domain.runs.state_machine import FINAL
from engine.compiled_flow import FlowCache
from engine.worker.bulk_worker import LEASE, BulkWorker
from service.worker import Worker
from tests.conftest import Dialect
from tests.engine.worker.worker_pool import WorkerPool
from tests.engine.worker.worker_process import WorkerSpec, settings
from tests.support import factory
from tests.support.clock import FakeClock, in_use
from tests.support.factory import PublishedFlow
from tests.support.worker import Flow, WorkerHarness, history, python, transform

LONG = 300.0
"""Seconds of a lease that no test outlasts in real time."""


@pytest.fixture
def spec(database_url: str, tmp_path: Path) -> WorkerSpec:
    """A worker on the database of the test."""
    return WorkerSpec(database_url, str(tmp_path / "worker.log"))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def worker_here(spec: WorkerSpec, still: FakeClock) -> AsyncIterator[Database]:
    """A worker in this process, in virtual time; gives its database."""
    async with opened(spec.url) as database:
        still.watch(database)
        worker = Worker(database, FlowCache(database), settings(spec))
        task = asyncio.create_task(worker.run())
        try:
            yield database
        finally:
            worker.stop()
            await still.drive(task)


def from_now_on() -> FakeClock:
    """Virtual time that begins at the real one, by which other processes have written."""
    return FakeClock(datetime.now(UTC))


async def resume_runs(spec: WorkerSpec, *run_ids: UUID, at_once: bool) -> None:
    """Let a worker here end the runs; `at_once`: without that any time passes."""
    with in_use(from_now_on()) as still:
        async with worker_here(spec, still) as database:
            for run_id in run_ids:
                with database.pubsub.subscribe(pubsub.run_changed(run_id)) as ended:
                    if (await WorkerHarness(database, run_id).run(run_id)).status not in FINAL:
                        await (still.happened(ended) if at_once else still.drive(ended.wait()))


class Gate:
    """Blocks the action `hold` until it is opened."""

    def __init__(self) -> None:
        self.port = 0
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def _hold(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        await self._open.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def wait_for_worker(self) -> None:
        """Returns when a worker has reached the gate."""
        async with asyncio.timeout(30):
            await self.reached.wait()

    @classmethod
    @asynccontextmanager
    async def built(cls) -> AsyncIterator["Gate"]:
        """A gate, opened at the end."""
        gate = cls()
        async with await asyncio.start_server(gate._hold, "127.0.0.1", 0) as server:
            gate.port = server.sockets[0].getsockname()[1]
            yield gate
            gate.open()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    async with Gate.built() as built:
        yield built


async def gated(worker: WorkerHarness, gate: Gate) -> Flow:
    """A flow whose second of three steps waits at the gate."""
    return await worker.publish(
        python("a", "stamp"), python("b", "hold", args={"gate": gate.port}), transform("c", "{{ steps.b.output }}")
    )


# Killed at any write


CRASH_POINTS = 9
"""Writes of a run of `eventful`: two claims, four tries, a skipped step, the wait between two tries, the end."""
UNDER_WAY = 4
"""The number of crash points, before or after the commit, at which an attempt is running."""


async def eventful(worker: WorkerHarness) -> Flow:
    """A flow in which all happens that is journalled."""
    return await worker.publish(
        python("a", "stamp"),
        python("never", "stamp", when="{{ false }}"),
        python("b", "flaky", retry={"attempts": 2, "delay": 0}),
        python("c", "stamp"),
        output=["{{ steps.a.output }}", "{{ steps.b.output }}", "{{ steps.c.output }}"],
    )


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_killed_at_any_write_loses_nothing_and_doubles_nothing(
    worker_pool: WorkerPool, new_database_url: Callable[[], str], dialect: Dialect, tmp_path: Path, when: str
) -> None:
    interrupted: list[int] = []
    for number in range(1, CRASH_POINTS + 2):
        spec = WorkerSpec(new_database_url(), str(tmp_path / "log"), kill_at=number, when=when)
        async with opened(spec.url) as database:
            worker = await WorkerHarness.on(database)
            run_id = await worker.start(await eventful(worker))
            code = await worker_pool.ended(await worker_pool.start(replace(spec, until=str(run_id))))
            # Past the last write there is nothing to be killed at.
            assert code == (-signal.SIGKILL if number <= CRASH_POINTS else 0)
            left = await Remains.of(worker, run_id)
            await resume_runs(replace(spec, kill_at=0), run_id, at_once=dialect == "sqlite")
            await left.check_what_became_of_them(worker, run_id)
            interrupted.append(left.tries_under_way)
    assert Counter(interrupted) == {0: CRASH_POINTS + 1 - UNDER_WAY, 1: UNDER_WAY}


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_worker_killed_during_a_resumption_loses_and_repeats_nothing(
    worker_pool: WorkerPool, new_database_url: Callable[[], str], tmp_path: Path, when: str
) -> None:
    for number in range(1, 5):  # the leases released, the claim, the try cut short, the next try
        spec = WorkerSpec(new_database_url(), str(tmp_path / "log"))
        async with opened(spec.url) as database:
            worker = await WorkerHarness.on(database)
            run_id = await worker.start(await eventful(worker))
            await worker_pool.ended(await worker_pool.start(replace(spec, kill_at=4, when="after")))
            left = await Remains.of(worker, run_id)
            assert left.tries_under_way == 1
            again = await worker_pool.start(replace(spec, kill_at=number, when=when))
            assert await worker_pool.ended(again) == -signal.SIGKILL
            await resume_runs(spec, run_id, at_once=True)
            await left.check_what_became_of_them(worker, run_id, killed_again=(number, when) == (4, "after"))


class Remains:
    """What a killed worker left of a run."""

    def __init__(self, steps: list[AnyRow], attempts: list[AnyRow]) -> None:
        self._done = [tuple(row) for row in steps if row.status in ("SUCCEEDED", "SKIPPED")]
        self._over = [tuple(row) for row in attempts if row.status != "RUNNING"]
        self._under_way = [(row.position, row.number) for row in attempts if row.status == "RUNNING"]

    @classmethod
    async def of(cls, worker: WorkerHarness, run_id: UUID) -> "Remains":
        return cls(list(await worker.steps(run_id)), list(await worker.attempts(run_id)))

    @property
    def tries_under_way(self) -> int:
        return len(self._under_way)

    async def check_what_became_of_them(
        self, worker: WorkerHarness, run_id: UUID, *, killed_again: bool = False
    ) -> None:
        """Checks that the run has ended as it should, and that nothing that was done at the crash has changed.

        `killed_again`: the attempt after the running one was interrupted too.
        """
        run = await worker.run(run_id)
        assert (run.status, run.due_at, run.lease_token) == ("SUCCEEDED", None, None)
        assert await history(worker, run_id) == ["QUEUED", "RUNNING", "SUCCEEDED"]
        steps, attempts = await worker.steps(run_id), await worker.attempts(run_id)
        assert [row.name for row in steps] == ["a", "never", "b", "c"]
        assert [row.status for row in steps] == ["SUCCEEDED", "SKIPPED", "SUCCEEDED", "SUCCEEDED"]
        assert set(self._done) <= {tuple(row) for row in steps}
        assert set(self._over) <= {tuple(row) for row in attempts}
        cut_short = [(row.position, row.number) for row in attempts if row.status == "INTERRUPTED"]
        assert cut_short == self._under_way + [(at, number + 1) for at, number in self._under_way if killed_again]
        self._check_tries(steps, attempts)
        outputs = [json_codec.decode(row.output) for row in steps if row.name != "never"]
        assert json_codec.decode(run.output) == outputs

    def _check_tries(self, steps: Any, attempts: Any) -> None:
        for step in steps:
            of_step = [row for row in attempts if row.position == step.position]
            assert [row.number for row in of_step] == list(range(1, step.attempts_count + 1))
            last_first = [row.status for row in reversed(of_step)]
            assert last_first[:1] == (["SUCCEEDED"] if step.attempts_count else [])
            assert set(last_first[1:]) <= {"INTERRUPTED", "FAILED"}
            if step.attempts_count:
                assert json_codec.decode(step.output)["attempt"] == step.attempts_count
            assert all(row.finished_at is not None for row in of_step)


# Stopped for longer than its lease


async def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(
    worker_pool: WorkerPool, spec: WorkerSpec, worker: WorkerHarness, gate: Gate
) -> None:
    run_id = await worker.start(await gated(worker, gate))
    pid = await worker_pool.start(replace(spec, lease=LONG))
    await gate.wait_for_worker()
    os.kill(pid, signal.SIGSTOP)
    with in_use(from_now_on()) as still:
        async with worker_here(spec, still) as database:
            with database.pubsub.subscribe(pubsub.run_changed(run_id)) as ended:
                # The time of this process runs ahead; the zombie's clock has all its lease before it.
                await still.advance(LONG / 2)
                assert not ended.is_set()
                await still.drive(ended.wait())
    found = await worker.everything(run_id)
    gate.open()
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGTERM)
    assert await worker_pool.ended(pid) == 0
    assert "lease lost" in await asyncio.to_thread(Path(spec.log).read_text)
    assert await worker.everything(run_id) == found
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert await worker.tries(run_id) == [
        ("a", 1, "SUCCEEDED"),
        ("b", 1, "INTERRUPTED"),
        ("b", 2, "SUCCEEDED"),
        ("c", 1, "SUCCEEDED"),
    ]
    assert json_codec.decode((await worker.run(run_id)).output)["process"] == os.getpid()


# Embedded: several workers on one file, and one after the other


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_next_start_after_a_kill_resumes_at_once(
    worker_pool: WorkerPool, spec: WorkerSpec, worker: WorkerHarness, gate: Gate
) -> None:
    flow = await gated(worker, gate)
    run_ids = [await worker.start(flow) for _ in range(5)]
    pid = await worker_pool.start(replace(spec, lease=LONG))
    await gate.wait_for_worker()
    os.kill(pid, signal.SIGKILL)
    assert await worker_pool.ended(pid) == -signal.SIGKILL
    gate.open()
    await resume_runs(spec, *run_ids, at_once=True)
    assert {(await worker.run(run_id)).status for run_id in run_ids} == {"SUCCEEDED"}
    assert {(await worker.run(run_id)).interruptions for run_id in run_ids} == {0}
    tries = [await worker.tries(run_id) for run_id in run_ids]
    assert any(("b", 1, "INTERRUPTED") in run for run in tries)


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_new_worker_waits_for_the_leases_of_a_killed_one_while_another_lives(
    worker_pool: WorkerPool, spec: WorkerSpec, worker: WorkerHarness, gate: Gate
) -> None:
    async with Gate.built() as second_gate:
        left = await worker.start(await gated(worker, gate))
        killed = await worker_pool.start(replace(spec, concurrency=1, lease=100))
        await gate.wait_for_worker()
        kept = await worker.start(await gated(worker, second_gate))
        living = await worker_pool.start(replace(spec, concurrency=1, lease=LONG))
        await second_gate.wait_for_worker()
        os.kill(killed, signal.SIGKILL)
        await worker_pool.ended(killed)
        with in_use(from_now_on()) as still:
            async with worker_here(spec, still) as database:
                with database.pubsub.subscribe(pubsub.run_changed(left)) as ended:
                    await still.advance(90)
                    assert not ended.is_set()
                    await still.drive(ended.wait())
        second_gate.open()
        os.kill(living, signal.SIGTERM)
        assert await worker_pool.ended(living) == 0
    assert ("b", 1, "INTERRUPTED") in await worker.tries(left)
    assert (await worker.run(kept)).status == "SUCCEEDED"
    assert await worker.tries(kept) == [(step, 1, "SUCCEEDED") for step in "abc"]


# Told to go


async def test_stopping_worker_finishes_runs_within_the_grace_period(
    worker_pool: WorkerPool, spec: WorkerSpec, worker: WorkerHarness, gate: Gate
) -> None:
    flow = await gated(worker, gate)
    run_id = await worker.start(flow)
    pid = await worker_pool.start(replace(spec, grace=60))
    await gate.wait_for_worker()
    os.kill(pid, signal.SIGTERM)
    gate.open()
    assert await worker_pool.ended(pid) == 0
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert await worker.tries(run_id) == [(step, 1, "SUCCEEDED") for step in "abc"]


async def test_stopping_worker_releases_unfinished_runs_for_other_workers(
    worker_pool: WorkerPool, spec: WorkerSpec, worker: WorkerHarness, gate: Gate
) -> None:
    flow = await gated(worker, gate)
    run_id = await worker.start(flow)
    pid = await worker_pool.start(replace(spec, grace=0))
    await gate.wait_for_worker()
    os.kill(pid, signal.SIGTERM)
    assert await worker_pool.ended(pid) == 0
    run = await worker.run(run_id)
    assert (run.status, run.lease_token, run.interruptions) == ("RUNNING", None, 0)
    assert await worker.tries(run_id) == [("a", 1, "SUCCEEDED"), ("b", 1, "RUNNING")]
    await resume_runs(spec, run_id, at_once=True)
    run = await worker.run(run_id)
    assert (run.status, run.interruptions) == ("SUCCEEDED", 0)
    assert ("b", 1, "INTERRUPTED") in await worker.tries(run_id)


# Faults of its own


async def test_worker_continues_after_a_fault_of_its_dispatcher(
    spec: WorkerSpec, worker: WorkerHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    name = "claim"
    working = getattr(claims, name)

    def claim(*arguments: Any) -> Any:
        monkeypatch.setattr(claims, name, working)
        raise RuntimeError("a bug")

    monkeypatch.setattr(claims, name, claim)
    await resume_runs(spec, run_id, at_once=False)
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert "a bug" in caplog.text


# Bulk operations


@pytest.mark.parametrize("when", ["before", "after"])
async def test_operation_of_a_worker_killed_between_chunks_processes_each_run_once(
    worker_pool: WorkerPool, spec: WorkerSpec, worker: WorkerHarness, when: str
) -> None:
    flow = await worker.publish(transform("a", 1))
    published = PublishedFlow(worker.project_id, flow.id, flow.version_id)
    failed = [{"status": RunStatus.FAILED}] * (2 * chunks.CHUNK_SIZE + 5)
    made = sorted(await worker.database.write(factory.make_runs, published, failed))
    request = {"project_id": worker.project_id, "kind": BulkKind.RETRY, "strategy": RetryStrategy.FROM_FAILED_STEP}
    asked = {**request, "key_id": made[0], "key_name": "test", "excluded_ids": "[]"}
    # The first time slot is tomorrow, so no retry is claimed before: only chunks are written.
    asked |= {"max_per_second": 1.0, "paced_through": datetime.now(UTC) + timedelta(days=1)}
    held = await worker.database.write(pinning.prepare, asked, LEASE)
    await worker.database.write(pinning.pin, held, made, LEASE, dry_run=False)
    await worker.database.write(pinning.start, held, LEASE)
    await worker.database.write(leases.release, held)
    assert await worker_pool.ended(await worker_pool.start(replace(spec, kill_at=2, when=when))) == -signal.SIGKILL
    (left,) = (await worker.database.read(bulk_reads.by_ids, [held.operation_id], {"processed", "status"})).values()
    assert (left.processed, left.status) == (
        chunks.CHUNK_SIZE if when == "before" else 2 * chunks.CHUNK_SIZE,
        "RUNNING",
    )
    with in_use(from_now_on()) as still:
        still.block(LEASE.total_seconds())
        await BulkWorker(worker.database).drain()
    columns = {"status", "matched", "processed", "succeeded"}
    (row,) = (await worker.database.read(bulk_reads.by_ids, [held.operation_id], columns)).values()
    assert (row.status, row.matched, row.processed, row.succeeded) == ("COMPLETED", *[len(made)] * 3)
    retried = select(table(FlowRun).c.retry_of_id).where(table(FlowRun).c.retry_of_id.is_not(None))
    found = await worker.database.read(lambda conn: conn.execute(retried).scalars().all())
    assert sorted(found) == made
