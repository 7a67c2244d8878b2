"""Tests of wake-ups between processes; two `Database` objects stand for two processes."""

import asyncio
import os
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from db import projects
from db.assembly import open_database
from db.core import pg_notify, pubsub
from db.core.database import Database
from db.core.pg_notify import Notifier
from db.core.unit_of_work import UnitOfWork
from tests.support.databases.postgres import PostgresServer
from tests.support.query import query

PATIENCE = 30.0
"""Real seconds after which a missing signal fails the test."""


@pytest.fixture
def dialect() -> str:
    return "postgresql"


class Process:
    """A database with a notifier, as each process of the service has."""

    def __init__(self, url: str) -> None:
        self.database = open_database(url)
        self.pubsub = self.database.pubsub
        assert self.database.server is not None
        self.notifier = Notifier(self.database.server, self.pubsub)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Process":
        self._task = asyncio.create_task(self.notifier.run())
        await within(self.notifier.listening)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.database.close()


async def within(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[tuple[Process, Process]]:
    async with Process(database_url) as one, Process(database_url) as other:
        yield one, other


TOPICS: list[Hashable] = [pubsub.EVENTS, pubsub.RUNS_DUE, pubsub.RUNS_STOPPED, pubsub.BULK_DUE]
TOPICS += [pubsub.run_changed(UUID(int=7)), pubsub.operation_changed(UUID(int=7))]


@pytest.mark.parametrize("topic", TOPICS, ids=str)
async def test_commit_wakes_other_process(processes: tuple[Process, Process], topic: Hashable) -> None:
    one, other = processes
    with other.pubsub.subscribe(topic) as received, other.pubsub.subscribe(pubsub.run_changed(uuid4())) as unrelated:
        await one.database.write(UnitOfWork.publish_after_commit, topic)
        await within(received)
        assert not unrelated.is_set()


async def test_every_topic_of_large_batch_is_signalled(processes: tuple[Process, Process]) -> None:
    one, other = processes
    topics = [made(uuid4()) for _ in range(500) for made in (pubsub.run_changed, pubsub.operation_changed)]
    async with AsyncExitStack() as stack:
        events = [stack.enter_context(other.pubsub.subscribe(topic)) for topic in topics]
        one.pubsub.publish(topics)
        for event in events:
            await within(event)


@pytest.mark.parametrize(("pause", "longest"), [(0.0, 3600.0), (3600.0, 0.0)], ids=["few commits", "limit"])
async def test_pause_between_notifications_follows_the_commits(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch, pause: float, longest: float
) -> None:
    monkeypatch.setattr(pg_notify, "PAUSE", pause)
    monkeypatch.setattr(pg_notify, "MAX_PAUSE", longest)
    one, other = processes
    for topic in (pubsub.EVENTS, pubsub.RUNS_DUE):
        with other.pubsub.subscribe(topic) as received:
            one.pubsub.publish([topic])
            await within(received)


async def test_process_ignores_its_own_notifications(processes: tuple[Process, Process]) -> None:
    one, other = processes
    with one.pubsub.subscribe(pubsub.EVENTS) as own, one.pubsub.subscribe(pubsub.RUNS_DUE) as answer:
        with other.pubsub.subscribe(pubsub.EVENTS) as received:
            one.pubsub.publish([pubsub.EVENTS])
            own.clear()
            await within(received)
        # A notification of its own would have arrived before this one.
        other.pubsub.publish([pubsub.RUNS_DUE])
        await within(answer)
        assert not own.is_set()


async def test_rolled_back_change_sends_no_signal(processes: tuple[Process, Process]) -> None:
    def fail(uow: UnitOfWork) -> None:
        uow.publish_after_commit(pubsub.RUNS_STOPPED)
        raise RuntimeError("a bug")

    one, other = processes
    with (
        other.pubsub.subscribe(pubsub.RUNS_STOPPED) as stopped,
        other.pubsub.subscribe(pubsub.RUNS_DUE) as due,
    ):
        with pytest.raises(RuntimeError):
            await one.database.write(fail)
        one.pubsub.publish([pubsub.RUNS_DUE])
        await within(due)
        assert not stopped.is_set()


async def test_lost_connection_is_reopened_and_wakes_every_listener(
    processes: tuple[Process, Process], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = processes
    with other.pubsub.subscribe(pubsub.RUNS_DUE) as looked:
        await query(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'flow-runs notifications' AND datname = current_database()",
        )
        await within(looked)
    await within(one.notifier.listening)
    with other.pubsub.subscribe(pubsub.EVENTS) as received:
        one.pubsub.publish([pubsub.EVENTS])
        await within(received)


async def test_notifier_reconnects_after_server_restart(
    own_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Process(own_postgres.url()) as process:
        with process.pubsub.subscribe(pubsub.EVENTS) as received:
            await asyncio.to_thread(own_postgres.stop)
            await asyncio.to_thread(own_postgres.start)
            await within(received)
    assert "notifications unavailable" in caplog.text


async def test_sqlite_needs_no_notifier_and_creates_no_file(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/file.db"
    database = open_database(url)
    async with pg_notify.listen_for_other_processes(database, url):
        with database.pubsub.subscribe(pubsub.EVENTS) as received:
            database.pubsub.publish([pubsub.EVENTS])
            assert received.is_set()
            await asyncio.sleep(0)
    assert not await asyncio.to_thread(os.listdir, tmp_path)
    await database.close()


async def test_process_without_notifier_commits(database: Database) -> None:
    assert await database.write(projects.create, "quiet")
