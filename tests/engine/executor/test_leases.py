"""Workers that lose their lease, and a database or server that is unavailable."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db.runs import claims, step_journal
from db.runs.claims import Claimed
from domain import json_codec
from engine.executor import Executor
from engine.steps import StepContext, StepSettings
from engine.steps.transform import TransformKind
from tests.engine.executor.harness import failing, lose_worker, output_of
from tests.support.clock import START, FakeClock
from tests.support.factory import encode_run_id
from tests.support.processes.listener import answering
from tests.support.worker import WorkerHarness, history, python, transform


class StealingDatabase:
    """A database on which another worker claims the run just before the first call of one journal function."""

    def __init__(self, worker: WorkerHarness, run_id: UUID, point: str) -> None:
        self._engine = worker
        self._run_id = run_id
        self._point = point
        self.after_theft: list[tuple[Any, ...]] | None = None
        self.other: Claimed

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._maybe_steal(work, args)
        return await self._engine.database.read(work, *args, **kwargs)

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._maybe_steal(work, args)
        return await self._engine.database.write(work, *args, **kwargs)

    async def write_batched(self, work: Callable[..., Any], key: Any, change: Any) -> bool:
        point = step_journal.advance if isinstance(change, step_journal.Advance) else step_journal.finish
        await self._maybe_steal(point, (change.lease,))
        return await self._engine.database.write_batched(work, key, change)

    async def _maybe_steal(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        journal_function = args[2] if work is step_journal.with_output else work
        if journal_function.__name__ == self._point and self.after_theft is None:
            await self._engine.change(self._run_id, due_at=START)
            self.other = await self._engine.claim()
            self.after_theft = await self._engine.everything(self._run_id)


@pytest.mark.parametrize("point", ["interrupt", "advance", "skip", "snooze", "finish"])
async def test_worker_without_the_lease_changes_nothing(worker: WorkerHarness, still: FakeClock, point: str) -> None:
    flaky = failing(1)

    async def work(ctx: StepContext) -> str:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return "done"

    steps = {
        "interrupt": [python("a", "work")],
        "skip": [transform("a", 1), transform("b", 2, when="{{ false }}")],
        "snooze": [transform("a", 1), python("b", "flaky", retry={"attempts": 2, "delay": 0})],
    }
    flow = await worker.publish(*steps.get(point, [transform("a", 1)]))
    run_id = await worker.start(flow)
    actions: dict[str, Callable[..., Any]] = {"work": work, "flaky": flaky}
    if point == "interrupt":
        await lose_worker(await worker.executor(**actions), worker, still)
    stealing = StealingDatabase(worker, run_id, point)
    executor = Executor(stealing, worker.flows, await worker.kinds(**actions))  # type: ignore[arg-type]
    await executor.execute(await worker.claim())
    assert stealing.after_theft is not None
    assert await worker.everything(run_id) == stealing.after_theft
    # The worker that has the lease completes the run.
    await (await worker.executor(**actions)).execute(stealing.other)
    assert (await worker.run(run_id)).status == "SUCCEEDED"


async def test_worker_without_the_lease_does_not_report_its_internal_error(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    other: list[Any] = []

    class LeaseLosingKind(TransformKind):
        async def run(self, rendered: Any, context: StepContext, /) -> Any:
            await worker.change(run_id, due_at=START)
            other.append(await worker.claim())
            other.append(await worker.everything(run_id))
            raise RuntimeError("bug")

    await Executor(worker.database, worker.flows, {"transform": LeaseLosingKind(StepSettings())}).execute(
        await worker.claim()
    )
    assert await worker.everything(run_id) == other[1]


async def test_lost_lease_can_be_neither_renewed_nor_released(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    lost = await worker.claim()
    await worker.change(run_id, due_at=START)
    held = await worker.claim()
    before = await worker.everything(run_id)
    hour = timedelta(hours=1)
    assert await worker.database.write(claims.renew, [lost.lease], hour) == set()
    await worker.database.write(claims.release, [lost.lease])
    assert await worker.everything(run_id) == before
    assert await worker.database.write(claims.renew, [held.lease, lost.lease], hour) == {run_id}
    assert (await worker.run(run_id)).due_at == START + hour


async def test_run_that_was_ended_by_another_worker_is_not_changed(worker: WorkerHarness) -> None:
    run_id = await worker.start(await worker.publish(transform("a", 1)))
    lease = await worker.claim()
    executor = await worker.executor()
    await executor.execute(lease)
    before = await worker.everything(run_id)
    await executor.execute(lease)
    assert await worker.everything(run_id) == before


async def test_unavailable_database_leaves_the_run_to_the_next_claim(
    worker: WorkerHarness, still: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise OperationalError("gone", None, Exception("gone"))

    run_id = await worker.start(await worker.publish(transform("a", 1), transform("b", 2)))
    executor = await worker.executor()
    with monkeypatch.context() as away:
        away.setattr(step_journal, "_record", gone)
        await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "RUNNING"
    await still.advance(15)
    await executor.execute(await worker.claim())
    assert (await worker.run(run_id)).status == "SUCCEEDED"
    assert await worker.tries(run_id) == [("a", 1, "INTERRUPTED"), ("a", 2, "SUCCEEDED"), ("b", 1, "SUCCEEDED")]


class Flaky:
    """Refuses the first two requests and accepts all others. Records the idempotency keys."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def answer(self, request: Request) -> Response:
        self.keys.append(request.headers["idempotency-key"])
        if len(self.keys) <= 2:
            return JSONResponse({"detail": "busy"}, 503)
        return JSONResponse({"order": request.path_params["number"], "total": 42})


async def test_five_steps_against_a_server_that_fails_twice(worker: WorkerHarness, still: FakeClock) -> None:
    flaky = Flaky()
    retry = {"attempts": 3, "delay": 1, "factor": 2, "jitter": 0}
    call = {"method": "POST", "url": "{{ run.input.server }}/orders/{{ steps.order.output }}", "json": {"n": 1}}
    flow = await worker.publish(
        transform("order", "{{ run.input.order }}"),
        {"name": "call", "kind": "http", "input": call, "retry": retry},
        python("check", "double", args={"total": "{{ steps.call.output.body.total }}"}),
        transform("never", 1, when="{{ steps.call.output.status != 200 }}"),
        transform("summary", "Order {{ steps.call.output.body.order }}: {{ steps.check.output }}"),
    )
    executor = await worker.executor(double=lambda total: total * 2)
    app = Starlette(routes=[Route("/orders/{number:int}", flaky.answer, methods=["POST"])])
    async with answering(app) as url:
        run_id = await worker.start(flow, json_codec.encode({"server": url, "order": 7}, limit=1000, what="input"))
        for wait in (1, 2, 0):
            await executor.execute(await worker.claim())
            await still.advance(wait)
    assert await output_of(worker, run_id) == "Order 7: 84"
    assert flaky.keys == [f"{encode_run_id(run_id)}:call"] * 3
    assert await worker.tries(run_id) == [
        ("order", 1, "SUCCEEDED"),
        ("call", 1, "FAILED"),
        ("call", 2, "FAILED"),
        ("call", 3, "SUCCEEDED"),
        ("check", 1, "SUCCEEDED"),
        ("summary", 1, "SUCCEEDED"),
    ]
    assert json_codec.decode((await worker.attempts(run_id))[1].error)["details"]["status"] == 503
    assert (await worker.run(run_id)).duration_ms == 3000
    assert await history(worker, run_id) == ["QUEUED", "RUNNING", "SUCCEEDED"]
