"""The clients that frontends use, cut off again and again while runs are executed: nothing lost, nothing doubled."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from db.events import log as event_log
from db.models import RunEvent
from db.models.types import table
from domain import ids
from domain.ids import IdKind
from tests.support.app import App
from tests.support.processes.node import running
from tests.support.processes.pipes import piped
from tests.support.processes.proxy import Proxy
from tests.support.processes.server import AppServer

PATIENCE = 120.0
DISCONNECTS = int(os.environ.get("FLOWRUNS_DISCONNECTS", "20"))
"""Connections that are cut, one after the other."""
HERE = Path(__file__).parent
FLOW = {"steps": [{"name": name, "kind": "transform", "input": "{{ run.id }}"} for name in "abc"]}
CURSOR = "subscription { flowRunStatusChanged { ... on CaughtUp { cursor } } }"

Change = tuple[str, str | None, str]


class Watcher:
    """A client in a process of its own, and the changes that it has received."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._read_lines: asyncio.Queue[Any] = asyncio.Queue()
        self.changes: list[Change] = []

    async def change(self) -> None:
        """Take the next change."""
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
            assert line, "the client ended: " + await self._complaint()
            event = json.loads(line)
            if event["__typename"] == "FlowRunStatusChanged":
                self.changes.append((event["runId"], event["change"]["from"], event["change"]["to"]))
                return

    async def _complaint(self) -> str:
        assert self._process.stderr is not None
        return (await self._process.stderr.read()).decode()


@asynccontextmanager
async def watching(client: str, url: str, key: str, cursor: str) -> AsyncIterator[Watcher]:
    """Runs a client: `gql` of Python, or one of npm's."""
    arguments = (f"{url}/graphql", key, cursor)
    if client == "gql":
        beside = piped(sys.executable, "watch.py", *arguments, cwd=HERE)
    else:
        beside = running((HERE / "watch.mjs").read_text(), client, *arguments)
    async with beside as process:
        yield Watcher(process)


async def now(served: AppServer) -> str:
    """A cursor of this moment."""
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {served.app.keys.admin}"}
    async with (
        httpx.AsyncClient(base_url=served.url) as http,
        http.stream("POST", "/graphql", json={"query": CURSOR}, headers=headers) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                return line.removeprefix("id: ")
    raise AssertionError("the stream ended")


async def keep_busy(app: App, flow_id: str, disconnects: asyncio.Semaphore) -> list[str]:
    """Starts runs, a few at each disconnect, so that there are always more events; returns them when all have ended."""
    started: list[str] = []
    for _ in range(DISCONNECTS):
        await disconnects.acquire()
        some = await asyncio.gather(*(app.start(flow_id) for _ in range(5)))
        started += [each["run"]["id"] for each in some]
    for run_id in started:
        await app.wait_until_final(run_id)
    return started


async def logged(app: App, run_ids: list[str]) -> list[Change]:
    """What the log has of these runs, in its order."""
    event = table(RunEvent).c
    keys: list[UUID] = [ids.decode(IdKind.RUN, each) for each in run_ids]
    query = select(event.run_id, event.from_status, event.to_status).where(
        event.run_id.in_(keys), event.kind == event_log.RUN_STATUS
    )
    rows = await app.database.read(lambda conn: conn.execute(query.order_by(event.seq)).all())
    return [(ids.encode(IdKind.RUN, row.run_id), row.from_status, row.to_status) for row in rows]


@pytest.mark.parametrize("client", ["ws", "sse", "gql"])
async def test_nothing_is_lost_and_nothing_doubled_by_disconnects(app_server: AppServer, client: str) -> None:
    app, proxy = app_server.app, Proxy(app_server.url)
    flow_id = await app.create_flow(FLOW)
    cursor = await now(app_server)
    disconnects = asyncio.Semaphore(2)
    async with proxy.listening() as url, watching(client, url, app.keys.admin, cursor) as watcher:
        busy = asyncio.create_task(keep_busy(app, flow_id, disconnects))
        while proxy.disconnects < DISCONNECTS:
            await watcher.change()
            proxy.reset()
            disconnects.release()
        expected = await logged(app, await busy)
        while len(watcher.changes) < len(expected):
            await watcher.change()
    assert watcher.changes == expected
