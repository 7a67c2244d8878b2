"""A database that fails under workers: killed, locked, or without space. Afterwards all work continues, and nothing is
lost, repeated or half written."""

import asyncio
import resource
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, make_url, select, text

from db.assembly import open_database
from db.core import sqlite
from db.core.database import Database
from db.migrate import upgrade
from db.models import FlowRun, RunEvent
from db.models.types import table
from domain.errors import DatabaseUnavailableError
from engine.steps import StepContext
from tests.engine.faults.backends import BACKENDS, Backend, Limits
from tests.engine.faults.load import PATIENCE, all_succeeded, ended, enqueue, tally
from tests.engine.worker.dispatcher.harness import at_work
from tests.support.app import App, run_app
from tests.support.databases.postgres import PostgresServer
from tests.support.worker import WorkerHarness, python

LIST = "{ flowRuns { totalCount } }"
ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}


class Counted:
    """An action that counts its calls, and lets a test wait for them."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._awaited: list[tuple[int, asyncio.Event]] = []

    async def act(self, ctx: StepContext) -> str:
        self.calls[ctx.run_id, ctx.step] += 1
        for count, reached in self._awaited:
            if self.calls.total() >= count:
                reached.set()
        await asyncio.sleep(0)
        return "x" * 200

    async def called(self, count: int) -> None:
        """Return when the action was called so often."""
        reached = asyncio.Event()
        self._awaited.append((count, reached))
        async with asyncio.timeout(PATIENCE):
            await reached.wait()


@asynccontextmanager
async def two_workers(backend: Backend, worker: WorkerHarness, url: str, action: Counted) -> AsyncIterator[None]:
    """Run two dispatchers, each with its own connections, while the block lasts."""
    async with AsyncExitStack() as stack:
        for _ in range(2):
            database = open_database(url)
            stack.push_async_callback(database.close)
            host = WorkerHarness(database, worker.project_id, stack)
            executor = await host.executor(act=action.act)
            dispatcher = backend.create(database, Limits(concurrency=16, lease=3))
            await stack.enter_async_context(at_work(dispatcher, executor.execute))
        yield


# PostgreSQL


def stopped_at_once(server: PostgresServer) -> None:
    server.crash()


def killed(server: PostgresServer) -> None:
    server.kill()


@pytest.mark.parametrize("backend", [pytest.param(BACKENDS[name], id=name) for name in BACKENDS])
@pytest.mark.parametrize("fail", [stopped_at_once, killed])
async def test_crashed_server_neither_loses_nor_repeats_steps(
    own_postgres: PostgresServer, backend: Backend, fail: Callable[[PostgresServer], None]
) -> None:
    url = own_postgres.url()
    await asyncio.to_thread(upgrade, url)
    async with run_app(url, with_worker=False) as app:
        worker = await WorkerHarness.on(app.database)
        flow = await worker.publish(python("a", "act"), python("b", "act"))
        run_ids = await enqueue(worker, flow, 300)
        action = Counted()
        async with two_workers(backend, worker, url, action):
            await action.called(150)
            await asyncio.to_thread(fail, own_postgres)
            await asyncio.to_thread(own_postgres.start)
            await ended(app.database, run_ids)
        counts = await tally(app.database)
        # Interrupted attempts are repeated; all others ran once.
        lost = counts.pop("attempts INTERRUPTED", 0)
        assert counts == {**all_succeeded(300, 2), "interruptions": counts["interruptions"]}
        assert action.calls.total() <= 600 + lost
        assert (await app.query(LIST))["flowRuns"]["totalCount"] == 0
        assert (await app.start(await app.create_flow(ECHO)))["__typename"] == "StartRunSuccess"


# SQLite


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that do not wait 10 seconds for a lock."""
    pragmas = [pragma for pragma in sqlite.PRAGMAS if "busy_timeout" not in pragma]
    monkeypatch.setattr(sqlite, "PRAGMAS", (*pragmas, "PRAGMA busy_timeout = 50"))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lets another program hold the write lock while the block lasts."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def no_space(file: Path) -> Iterator[None]:
    """No file may grow beyond its current size while the block lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = file.with_name(file.name + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(file.stat().st_size, wal.stat().st_size), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("dialect", ["sqlite"])
@pytest.mark.parametrize("fail", [locked, no_space])
@pytest.mark.usefixtures("impatient")
async def test_unwritable_file_neither_loses_nor_repeats_steps(database_url: str, fail: Callable[[Path], Any]) -> None:
    file = Path(str(make_url(database_url).database))
    async with run_app(database_url, with_worker=False) as app:
        worker = await WorkerHarness.on(app.database)
        run_ids = await enqueue(worker, await worker.publish(python("a", "act"), python("b", "act")), 300)
        echo = await app.create_flow(ECHO)
        action = Counted()
        async with two_workers(BACKENDS["dispatcher"], worker, database_url, action):
            await action.called(150)
            with fail(file):
                started = await started_until_refused(app, echo)
                assert (await app.query(LIST))["flowRuns"]["totalCount"] == started
            await ended(app.database, run_ids)
            assert (await app.start(echo))["__typename"] == "StartRunSuccess"
            await ended(app.database, await app.database.read(run_ids_of_all))
        counts = await tally(app.database)
        assert await app.database.read(lambda conn: conn.execute(text("PRAGMA integrity_check")).scalar_one()) == "ok"
    lost = counts.pop("attempts INTERRUPTED", 0)
    # Runs whose start was confirmed to the client are executed like all others: one step each.
    expected = all_succeeded(300 + started + 1)
    steps = {name: expected[name] + 300 for name in ("steps SUCCEEDED", "attempts SUCCEEDED")}
    assert counts == {**expected, **steps, "interruptions": counts["interruptions"]}
    assert action.calls.total() <= 600 + lost


def run_ids_of_all(conn: Any) -> list[Any]:
    return list(conn.execute(select(table(FlowRun).c.id)).scalars())


async def started_until_refused(app: App, flow: str) -> int:
    """Start runs until one is refused because the disk is full; returns the number of runs started."""
    start = "mutation($input: StartRunInput!) { startRun(input: $input) { __typename } }"
    large = {"flowId": flow, "input": "x" * 100_000}
    for started in range(1_000):
        body = await app.execute(start, {"input": large})
        if errors := body.get("errors"):
            assert errors[0]["extensions"] == {"code": "DATABASE_UNAVAILABLE"}
            return started
        assert body["data"]["startRun"]["__typename"] == "StartRunSuccess"
    raise AssertionError("never refused")


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_full_disk_refuses_whole_writes(database: Database) -> None:
    worker = await WorkerHarness.on(database)
    flow = await worker.publish(python("a", "act"))
    kept = await worker.start(flow)
    pages = await database.write(lambda uow: uow.conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    await database.write(lambda uow: uow.conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 8}").all())
    # In one batch: each write gets its own result.
    results = await asyncio.gather(*(worker.start(flow, f'"{"x" * 3_000}"') for _ in range(40)), return_exceptions=True)
    written = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, BaseException)]
    assert refused
    assert {type(error) for error in refused} == {DatabaseUnavailableError}
    assert any("no space" in str(error) for error in refused)
    counts = await database.read(runs_and_events)
    assert counts == (1 + len(written), 1 + len(written))
    await database.write(lambda uow: uow.conn.exec_driver_sql("PRAGMA max_page_count = 1000000").all())
    again = await worker.start(flow, f'"{"x" * 3_000}"')
    assert {(await worker.run(run_id)).status for run_id in (kept, again, *written)} == {"QUEUED"}


def runs_and_events(conn: Any) -> tuple[int, int]:
    runs, events = (
        conn.execute(select(func.count()).select_from(table(model))).scalar_one() for model in (FlowRun, RunEvent)
    )
    return runs, events
