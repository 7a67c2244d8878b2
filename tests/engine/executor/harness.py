"""Actions and helpers of the executor's tests."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain import json_codec
from engine.executor import Executor
from tests.support.clock import START, FakeClock
from tests.support.worker import WorkerHarness


def seconds(count: float) -> datetime:
    """Returns an instant relative to the start of the test."""
    return START + timedelta(seconds=count)


def fail() -> None:
    raise ValueError("bad luck")


def failing(times: int) -> Callable[..., str]:
    """Returns an action that fails `times` times, and then returns the number of the call."""
    calls = iter(range(1, 1000))

    def action() -> str:
        number = next(calls)
        if number <= times:
            raise ValueError(f"no luck at {number}")
        return f"attempt {number}"

    return action


async def error_of(worker: WorkerHarness, run_id: UUID, position: int = 0) -> Any:
    return json_codec.decode((await worker.steps(run_id))[position].error)


async def output_of(worker: WorkerHarness, run_id: UUID) -> Any:
    return json_codec.decode((await worker.run(run_id)).output)


def interrupt() -> None:
    raise KeyboardInterrupt


async def lose_worker(executor: Executor, worker: WorkerHarness, still: FakeClock) -> None:
    """Let a worker start an attempt and be lost during it; its lease expires."""
    task = asyncio.create_task(executor.execute(await worker.claim()))
    await still.settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await still.advance(15)
