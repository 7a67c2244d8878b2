from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from db import projects
from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from db.models import Project
from db.models.types import table
from db.runs import reads as run_reads
from db.runs import retries
from domain import ids
from domain.enums import RetryStrategy, RunStatus
from domain.time import clock
from tests.support import factory
from tests.support.factory import PublishedFlow


def add_chain(uow: UnitOfWork, published: PublishedFlow, length: int) -> list[UUID]:
    """Runs of which each retries the one before it."""
    keys: list[UUID] = []
    for number in range(length):
        previous = keys[-1] if keys else None
        keys.append(factory.make_run(uow, published, status=RunStatus.FAILED, retry_of_id=previous, attempt=number + 1))
    return keys


async def recoveries(database: Database, keys: list[UUID]) -> list[UUID | None]:
    rows = await database.read(run_reads.by_ids, keys, ("recovered_by_id",))
    return [rows[key].recovered_by_id for key in keys]


class TestMarkRecovered:
    async def test_recovery_marks_every_run_of_the_chain_and_no_other(
        self, database: Database, published: PublishedFlow
    ) -> None:
        chain = await database.write(add_chain, published, 5)
        other = await database.write(add_chain, published, 2)
        await database.write(run_reads.mark_recovered, chain[-1], clock.now())
        assert await recoveries(database, chain) == [chain[-1]] * 4 + [None]
        assert await recoveries(database, other) == [None, None]

    async def test_recovery_does_not_mark_other_branches(self, database: Database, published: PublishedFlow) -> None:
        chain = await database.write(add_chain, published, 3)
        branch = await database.write(factory.make_run, published, status=RunStatus.FAILED, retry_of_id=chain[0])
        await database.write(run_reads.mark_recovered, chain[1], clock.now())
        assert await recoveries(database, [*chain, branch]) == [chain[1], None, None, None]

    async def test_latest_successful_retry_replaces_earlier_one(
        self, database: Database, published: PublishedFlow
    ) -> None:
        chain = await database.write(add_chain, published, 3)
        for key in chain[1:]:
            await database.write(run_reads.mark_recovered, key, clock.now())
        assert await recoveries(database, chain) == [chain[2], chain[2], None]

    async def test_success_without_retried_run_marks_nothing(
        self, database: Database, published: PublishedFlow
    ) -> None:
        chain = await database.write(add_chain, published, 1)
        await database.write(run_reads.mark_recovered, chain[0], clock.now())
        assert await recoveries(database, chain) == [None]


class TestIdempotencyKeys:
    async def test_idempotency_key_finds_run_only_in_its_project(
        self, database: Database, published: PublishedFlow
    ) -> None:
        other = await database.write(factory.make_project_with_flow, "other")
        key = await database.write(factory.make_run, published, idempotency_key="k", request_hash="h")
        found = await database.read(run_reads.by_idempotency_key, published.project_id, "k")
        assert found is not None
        assert (found.id, found.request_hash) == (key, "h")
        assert await database.read(run_reads.by_idempotency_key, other.project_id, "k") is None
        assert await database.read(run_reads.by_idempotency_key, published.project_id, "K") is None

    async def test_idempotency_key_is_unique_in_project(self, database: Database, published: PublishedFlow) -> None:
        other = await database.write(factory.make_project_with_flow, "other")
        await database.write(factory.make_run, published, idempotency_key="k")
        with pytest.raises(ConflictError):
            await database.write(factory.make_run, published, idempotency_key="k")
        await database.write(factory.make_run, other, idempotency_key="k")

    async def test_many_runs_have_no_idempotency_key(self, database: Database, published: PublishedFlow) -> None:
        assert len(await database.write(factory.make_runs, published, [{}, {}])) == 2


def set_retry_limit(uow: UnitOfWork, project_id: UUID) -> None:
    uow.conn.execute(update(table(Project)).where(table(Project).c.id == project_id).values(retry_limit=3))


async def test_locked_run_has_all_columns_and_retry_limit(database: Database, published: PublishedFlow) -> None:
    values = {"status": RunStatus.FAILED, "tags": ["a", "b"], "metadata": '{"a": 1}', "input": '{"b":2}'}
    key = await database.write(factory.make_run, published, **values)
    found = await database.write(retries.lock, key, RetryStrategy.FROM_FAILED_STEP)
    assert found is not None
    assert (found.id, found.project_id, found.retry_limit) == (key, published.project_id, 10)
    assert {name: getattr(found, name) for name in values} == values
    await database.write(set_retry_limit, published.project_id)
    again = await database.write(retries.lock, key, RetryStrategy.FROM_FAILED_STEP)
    assert again is not None
    assert again.retry_limit == 3
    assert await database.write(retries.lock, ids.new_uuid(), RetryStrategy.FROM_FAILED_STEP) is None


async def test_parent_is_found_only_in_its_project(database: Database, published: PublishedFlow) -> None:
    other = await database.write(projects.create, "other")
    root = await database.write(factory.make_run, published)
    key = await database.write(factory.make_run, published, status=RunStatus.RUNNING, root_run_id=root)
    found = await database.read(run_reads.parent, key, published.project_id)
    assert found is not None
    assert (found.status, found.root_run_id) == ("RUNNING", root)
    assert await database.read(run_reads.parent, key, other) is None
    assert await database.read(run_reads.parent, ids.new_uuid(), published.project_id) is None


async def test_by_ids_returns_archived_runs_too(database: Database, published: PublishedFlow) -> None:
    one = await database.write(factory.make_run, published)
    other = await database.write(factory.make_run, published, archived_at=ids.created_at(one) + timedelta(days=1))
    found = await database.read(run_reads.by_ids, [one, other, ids.new_uuid()], {"status"})
    assert found.keys() == {one, other}
    row: Any = found[one]
    assert set(row._fields) == {"id", "project_id", "status"}


async def test_times_and_texts_are_read_as_written(database: Database, published: PublishedFlow) -> None:
    key = await database.write(factory.make_run, published)
    exact = ids.created_at(key) + timedelta(microseconds=123_457)
    tags = ["ä 🙂", 'say "hi"', "it's", "\\", "", "{1,2}", "null"]
    values = {"started_at": exact, "duration_ms": 2**40, "tags": tags, "output": '{"é": "🙂\\u0000"}'}
    other = await database.write(factory.make_run, published, **values)
    found = (await database.read(run_reads.by_ids, [other], values))[other]
    assert {name: getattr(found, name) for name in values} == values
