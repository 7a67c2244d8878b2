"""A database that fails under workers: killed, locked, or without space. All goes on afterwards, and nothing is lost,
doubled or half written."""

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

from db.core import sqlite
from db.core.database import Database
from db.migrate import upgrade
from db.models import FlowRun, RunEvent
from db.models.types import table
from domain.errors import DatabaseUnavailableError
from engine.steps import StepContext
from tests.engine.backends import BACKENDS, Backend, Limits
from tests.engine.load import PATIENCE, all_succeeded, ended, enqueue, tally
from tests.engine.test_dispatcher import at_work
from tests.support.app import App, run_app
from tests.support.postgres import PostgresServer
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
        """Return when it was called so often."""
        reached = asyncio.Event()
        self._awaited.append((count, reached))
        async with asyncio.timeout(PATIENCE):
            await reached.wait()


@asynccontextmanager
async def two_workers(backend: Backend, worker: WorkerHarness, url: str, action: Counted) -> AsyncIterator[None]:
    """Two dispatchers, each on a database of its own, for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        for _ in range(2):
            database = Database(url)
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


@pytest.mark.parametrize("backend", [pytest.param(BACKENDS[name], id=name) for name in ("polling", "tickets")])
@pytest.mark.parametrize("fail", [stopped_at_once, killed])
async def test_a_server_that_crashes_under_two_workers_loses_and_doubles_nothing(
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
        found = await tally(app.database)
        # What was under way is tried again; all the rest was done once.
        lost = found.pop("attempts INTERRUPTED", 0)
        assert found == {**all_succeeded(300, 2), "interruptions": found["interruptions"]}
        assert action.calls.total() <= 600 + lost
        assert (await app.query(LIST))["flowRuns"]["totalCount"] == 0
        assert (await app.start(await app.create_flow(ECHO)))["__typename"] == "StartRunSuccess"


# SQLite


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that do not wait 10 seconds for a lock."""
    pragmas = [each for each in sqlite.PRAGMAS if "busy_timeout" not in each]
    monkeypatch.setattr(sqlite, "PRAGMAS", (*pragmas, "PRAGMA busy_timeout = 50"))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program writes, and does not come to an end."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def no_space(file: Path) -> Iterator[None]:
    """No file may grow beyond what the database has by now, for as long as the block lasts."""
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
async def test_a_file_that_cannot_be_written_for_a_while_loses_and_doubles_nothing(
    database_url: str, fail: Callable[[Path], Any]
) -> None:
    file = Path(str(make_url(database_url).database))
    async with run_app(database_url, with_worker=False) as app:
        worker = await WorkerHarness.on(app.database)
        run_ids = await enqueue(worker, await worker.publish(python("a", "act"), python("b", "act")), 300)
        echo = await app.create_flow(ECHO)
        action = Counted()
        async with two_workers(BACKENDS["polling"], worker, database_url, action):
            await action.called(150)
            with fail(file):
                started = await started_until_refused(app, echo)
                assert (await app.query(LIST))["flowRuns"]["totalCount"] == started
            await ended(app.database, run_ids)
            assert (await app.start(echo))["__typename"] == "StartRunSuccess"
            await ended(app.database, await app.database.read(run_ids_of_all))
        found = await tally(app.database)
        assert await app.database.read(lambda conn: conn.execute(text("PRAGMA integrity_check")).scalar_one()) == "ok"
    lost = found.pop("attempts INTERRUPTED", 0)
    # What the client was told that it started is executed like all others: one step each.
    expected = all_succeeded(300 + started + 1)
    steps = {name: expected[name] + 300 for name in ("steps SUCCEEDED", "attempts SUCCEEDED")}
    assert found == {**expected, **steps, "interruptions": found["interruptions"]}
    assert action.calls.total() <= 600 + lost


def run_ids_of_all(conn: Any) -> list[Any]:
    return list(conn.execute(select(table(FlowRun).c.id)).scalars())


async def started_until_refused(app: App, flow: str) -> int:
    """How many runs could be started before one was refused because nothing could be written."""
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
async def test_what_finds_no_space_is_not_written_at_all_and_says_so(database: Database) -> None:
    worker = await WorkerHarness.on(database)
    flow = await worker.publish(python("a", "act"))
    kept = await worker.start(flow)
    pages = await database.write(lambda conn: conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    await database.write(lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 8}").all())
    # Together, as one group: each is told how it went.
    results = await asyncio.gather(*(worker.start(flow, f'"{"x" * 3_000}"') for _ in range(40)), return_exceptions=True)
    made = [each for each in results if not isinstance(each, BaseException)]
    refused = [each for each in results if isinstance(each, BaseException)]
    assert refused
    assert {type(each) for each in refused} == {DatabaseUnavailableError}
    assert any("no space" in str(each) for each in refused)
    counts = await database.read(runs_and_events)
    assert counts == (1 + len(made), 1 + len(made))
    await database.write(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 1000000").all())
    again = await worker.start(flow, f'"{"x" * 3_000}"')
    assert {(await worker.run(run_id)).status for run_id in (kept, again, *made)} == {"QUEUED"}


def runs_and_events(conn: Any) -> tuple[int, int]:
    runs, events = (
        conn.execute(select(func.count()).select_from(table(model))).scalar_one() for model in (FlowRun, RunEvent)
    )
    return runs, events
