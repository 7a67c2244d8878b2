from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import StepAttempt
from db.models.types import table
from db.row_types import StepRow
from db.runs import kept_steps
from db.runs import reads as run_reads
from domain.enums import RunStatus
from domain.flows.definition import MAX_STEPS
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import PublishedFlow

OK: dict[str, Any] = {"output": '"kept"'}
FAILED: dict[str, Any] = {"status": "FAILED", "error": '{"code":"E"}'}
SKIPPED: dict[str, Any] = {"status": "SKIPPED", "attempts_count": 0}
ALL_COLUMNS = (
    "name", "display_name", "kind", "status", "attempts_count", "started_at", "finished_at", "duration_ms",
    "reused_from_id", "error", "input", "output",
)  # fmt: skip

Ended = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], list[str]]
KEPT: dict[str, Ended] = {
    "those before the failed one": (
        {"failed_step_name": "c"},
        [OK, OK, FAILED],
        ["a", "b"],
    ),
    "none when the first failed": ({"failed_step_name": "a"}, [FAILED], []),
    "not failures after which the run continued": (
        {"failed_step_name": "d"},
        [OK, FAILED, OK, FAILED],
        ["a", "c"],
    ),
    "skipped ones": ({"failed_step_name": "c"}, [SKIPPED, OK, FAILED], ["a", "b"]),
    "nothing behind the failed one": ({"failed_step_name": "b"}, [OK, FAILED, OK], ["a"]),
    "all when no step failed": ({"status": RunStatus.INTERNAL_ERROR}, [OK, SKIPPED, OK], ["a", "b", "c"]),
    "all when the output failed": ({}, [OK, OK], ["a", "b"]),
    "none when nothing was done": ({"status": RunStatus.QUOTA_EXCEEDED}, [], []),
    "those before one that was running when time ran out": (
        {"status": RunStatus.TIMEOUT},
        [OK, FAILED, {"status": "RUNNING"}],
        ["a"],
    ),
    "those before one that waited for its next try": (
        {"status": RunStatus.TIMEOUT, "failed_step_name": "b"},
        [OK, {"status": "PENDING"}],
        ["a"],
    ),
    "those before one that was stopped": (
        {"status": RunStatus.STOPPED},
        [OK, {"status": "STOPPED"}],
        ["a"],
    ),
    "those before one that was paused": ({"status": RunStatus.STOPPED}, [OK, {"status": "PAUSED"}], ["a"]),
    "those before one that never began": (
        {"status": RunStatus.TIMEOUT, "failed_step_name": "z"},
        [OK, OK],
        ["a", "b"],
    ),
}


def add_ended_run(
    uow: UnitOfWork, published: PublishedFlow, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> UUID:
    run_id = factory.make_run(uow, published, **{"status": RunStatus.FAILED, **values})
    factory.make_steps(uow, run_id, rows)
    return run_id


def retried(uow: UnitOfWork, published: PublishedFlow, source: UUID, failed_step_name: str | None = None) -> UUID:
    target = factory.make_run(uow, published, retry_of_id=source, failed_step_name=failed_step_name)
    kept_steps.copy_kept(uow, [target])
    return target


async def results(database: Database, run_id: UUID) -> list[StepRow]:
    return (await database.read(run_reads.steps_by_runs, [run_id], ALL_COLUMNS)).get(run_id, [])


async def test_retry_keeps_steps_before_the_failed_one(database: Database, published: PublishedFlow) -> None:
    found = {}
    for name, (values, rows, _) in KEPT.items():
        source = await database.write(add_ended_run, published, values, rows)
        copies = await results(database, await database.write(retried, published, source))
        found[name] = [step.name for step in copies]
        reached = await database.read(kept_steps.reached_by_runs, [source])
        assert [step.name for step in reached.get(source, []) if step.is_kept] == found[name]
    assert found == {name: kept for name, (_, _, kept) in KEPT.items()}


async def test_kept_step_equals_original_except_for_reused_from(database: Database, published: PublishedFlow) -> None:
    rows = [{**OK, "input": "1", "display_name": "A", "duration_ms": 7, "attempts_count": 3}, SKIPPED, OK, FAILED]
    source = await database.write(add_ended_run, published, {"failed_step_name": "d"}, rows)
    copies = await results(database, await database.write(retried, published, source))
    same = [column for column in ALL_COLUMNS if column != "reused_from_id"]
    for step, copy in zip((await results(database, source))[:3], copies, strict=True):
        assert [getattr(step, name) for name in same] == [getattr(copy, name) for name in same]
        assert copy.reused_from_id == source


async def test_step_kept_twice_names_the_run_that_executed_it(database: Database, published: PublishedFlow) -> None:
    first = await database.write(add_ended_run, published, {"failed_step_name": "b"}, [OK, FAILED])
    second = await database.write(retried, published, first, failed_step_name="c")
    await database.write(add_later_steps, second)
    third = await database.write(retried, published, second)
    assert [(step.name, step.reused_from_id) for step in await results(database, third)] == [
        ("a", first),
        ("b", second),
    ]


def add_later_steps(uow: UnitOfWork, run_id: UUID) -> None:
    """The run executes its second step, and fails at the third."""
    rows = [{"position": 1, "name": "b", **OK}, {"position": 2, "name": "c", **FAILED}]
    factory.make_steps(uow, run_id, rows)


async def test_retry_copies_no_attempts(database: Database, published: PublishedFlow) -> None:
    source = await database.write(add_ended_run, published, {"failed_step_name": "b"}, [OK, FAILED])
    target = await database.write(retried, published, source)
    assert await database.read(run_reads.attempts_by_steps, [(target, 0), (target, 1)]) == {}


async def test_retry_keeps_all_steps_of_the_largest_run(database: Database, published: PublishedFlow) -> None:
    rows = [{"name": f"s{number}"} for number in range(MAX_STEPS)]
    source = await database.write(add_ended_run, published, {"status": RunStatus.INTERNAL_ERROR}, rows)
    target = await database.write(retried, published, source)
    assert len(await results(database, target)) == MAX_STEPS


async def test_kept_counts_are_batched(database: Database, published: PublishedFlow) -> None:
    one = await database.write(add_ended_run, published, {"failed_step_name": "c"}, [OK, OK, FAILED])
    other = await database.write(add_ended_run, published, {"failed_step_name": "b"}, [OK, FAILED])
    none = await database.write(add_ended_run, published, {"failed_step_name": "a"}, [FAILED])
    reached = await database.read(kept_steps.reached_by_runs, [one, other, none])
    assert {run: sum(step.is_kept for step in steps) for run, steps in reached.items()} == {one: 2, other: 1, none: 0}


class TestReads:
    @pytest.fixture
    async def keys(self, database: Database, published: PublishedFlow) -> list[UUID]:
        """Three runs: two with steps, one without."""
        keys = await database.write(factory.make_runs, published, [{}, {}, {}])
        await database.write(factory.make_steps, keys[0], [OK, {"output": "2"}, FAILED])
        await database.write(factory.make_steps, keys[1], [{"output": "3"}])
        return keys

    async def test_steps_are_ordered_by_position(self, database: Database, keys: list[UUID]) -> None:
        found = await database.read(run_reads.steps_by_runs, keys, ("name",))
        assert {key: [step.name for step in rows] for key, rows in found.items()} == {
            keys[0]: ["a", "b", "c"],
            keys[1]: ["a"],
        }

    async def test_only_requested_columns_are_read(self, database: Database, keys: list[UUID]) -> None:
        found = await database.read(run_reads.steps_by_runs, keys, ("status",))
        row: Any = found[keys[0]][0]
        assert set(row._fields) == {"run_id", "position", "status"}

    async def test_steps_by_run_and_name(self, database: Database, keys: list[UUID]) -> None:
        asked = [(keys[0], "b"), (keys[1], "a"), (keys[1], "b"), (keys[2], "a")]
        found = await database.read(run_reads.steps_by_names, asked, ("output",))
        assert {key: found[key].output for key in asked if key in found} == {
            (keys[0], "b"): "2",
            (keys[1], "a"): "3",
        }

    async def test_step_counts(self, database: Database, keys: list[UUID]) -> None:
        assert await database.read(run_reads.step_counts_by_runs, keys) == {keys[0]: 3, keys[1]: 1}

    async def test_attempts_are_ordered_oldest_first(self, database: Database, keys: list[UUID]) -> None:
        await database.write(add_second_attempt, keys[0])
        found = await database.read(
            run_reads.attempts_by_steps, [(keys[0], 0), (keys[0], 2), (keys[1], 0), (keys[2], 0)]
        )
        statuses = {key: [(attempt.number, attempt.status) for attempt in rows] for key, rows in found.items()}
        assert statuses == {
            (keys[0], 0): [(1, "SUCCEEDED"), (2, "RUNNING")],
            (keys[0], 2): [(1, "FAILED")],
            (keys[1], 0): [(1, "SUCCEEDED")],
        }

    async def test_no_keys_return_no_rows(self, database: Database, keys: list[UUID]) -> None:
        assert await database.read(run_reads.steps_by_runs, [], ("name",)) == {}
        assert await database.read(run_reads.steps_by_names, [], ("name",)) == {}
        assert await database.read(run_reads.attempts_by_steps, []) == {}
        assert await database.read(run_reads.step_counts_by_runs, []) == {}
        assert await database.read(run_reads.by_ids, [], ("status",)) == {}


def add_second_attempt(uow: UnitOfWork, run_id: UUID) -> None:
    uow.conn.execute(
        insert(table(StepAttempt)).values(run_id=run_id, position=0, number=2, status="RUNNING", started_at=START)
    )
