"""Helpers of the hub's tests."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import UUID

from db.events import log as event_log
from db.events.log import LogPosition
from domain.runs.run_filter import RunFilter
from domain.time import clock
from live.events import (
    MatchedEvent,
)
from live.hub import Hub
from live.subscription import Subscription
from live.topics import RunsTopic
from tests.support.worker import Flow, WorkerHarness

PATIENCE = 30.0


ALL = RunsTopic(RunFilter())


BEGINNING: LogPosition = 0


async def take(feed: Subscription, count: int) -> list[Any]:
    """The rows of the next `count` events, without `CaughtUp`."""
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            item = await anext(feed)
            found += [item.event.row] if isinstance(item, MatchedEvent) else []
    return found


async def read(hub: Hub, projects: list[UUID] | None, after: LogPosition, count: int) -> list[Any]:
    """The next `count` events."""
    async with aclosing(hub.subscribe(RunsTopic(RunFilter(project_ids=projects)), after)) as feed:
        return await take(feed, count)


END = "the end"
"""The message of the event that is written last."""


async def receive_to_the_end(feed: Subscription) -> list[LogPosition]:
    """Returns the positions of all events up to the one with the message END."""
    received = []
    async for item in feed:
        if isinstance(item, MatchedEvent):
            received.append(item.position)
            if item.event.row.message == END:
                break
    return received


async def complete(hub: Hub, count: int) -> None:
    await read(hub, None, BEGINNING, count)


def _event(worker: WorkerHarness, flow: Flow, run_id: UUID, message: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "project_id": worker.project_id,
        "flow_id": flow.id,
        "kind": event_log.RUN_STATUS,
        "from_status": "QUEUED",
        "to_status": "RUNNING",
        "message": message,
        "at": clock.now(),
    }
