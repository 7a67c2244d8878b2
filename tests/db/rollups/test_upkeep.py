"""The counts equal the runs, whatever changes these: in every order, by several writers, when work is broken off."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, inspect, select, update

from db import migrate, text_indexes
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import RUN_ROLLUP_DELTA, FlowRun, RunRollup, RunRollupState
from db.models.types import table
from db.rollups import answers, upkeep
from db.rollups.check import NotCountedError, differences
from db.runs import transitions
from domain import ids
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL, LIVE
from engine.worker.maintenance import count_old_runs, keep_counts
from tests.conftest import Dialect
from tests.support import factory
from tests.support.clock import START
from tests.support.databases.old_schema import open_at_old_schema
from tests.support.databases.overlap import uncommitted
from tests.support.factory import PublishedFlow
from tests.support.query import query

_runs = table(FlowRun)
_run = _runs.c


async def agree(database: Database) -> bool:
    """Whether the counts equal the runs."""
    return not await database.read(differences)


async def size(database: Database, source: Any) -> int:
    return await database.read(lambda conn: conn.execute(select(func.count()).select_from(source)).scalar_one())


def _some(uow: UnitOfWork, number: int, *statuses: RunStatus) -> list[UUID]:
    where = _run.status.in_(sorted(statuses or RunStatus))
    run_ids = list(uow.conn.execute(select(_run.id).where(where).order_by(_run.id)).scalars())
    return run_ids[number % 3 :: 3]


def _create(uow: UnitOfWork, published: PublishedFlow, number: int) -> None:
    for _ in range(1 + number % 3):
        values = {
            "environment": list(Environment)[number % len(Environment)],
            "trigger_method": list(TriggerMethod)[number % len(TriggerMethod)],
        }
        factory.create_run(uow, published, **values)


def _insert_old(uow: UnitOfWork, published: PublishedFlow, number: int) -> None:
    rows = [
        {"id": factory.uuid_at(START - timedelta(hours=number, minutes=minutes), number), "status": RunStatus.FAILED}
        for minutes in range(3)
    ]
    known = set(uow.conn.execute(select(_run.id)).scalars())
    factory.make_runs(uow, published, [row for row in rows if row["id"] not in known])


def _begin(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    statuses = dict(uow.conn.execute(select(_run.id, _run.status)).all())
    claimed = {key: statuses[key] for key in _some(uow, number, RunStatus.QUEUED, RunStatus.PAUSED)}
    if claimed:
        transitions.claim(uow, claimed, ids.new_uuid(), START)


def _end(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    target = (RunStatus.STOPPED, RunStatus.INTERNAL_ERROR)[number % 2]
    transitions.end(uow, _some(uow, number, *LIVE), target, "Ended")


def _fail(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    values = {"status": RunStatus.FAILED, "failed_step_name": "ab"[number % 2], "duration_ms": number * 37}
    uow.conn.execute(update(_runs).where(_run.id.in_(_some(uow, number, RunStatus.RUNNING))).values(values))


def _archive(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    archived_at = START if number % 2 else None
    uow.conn.execute(
        update(_runs).where(_run.id.in_(_some(uow, number, *FINAL))).values(archived_at=archived_at, updated_at=START)
    )


def _delete(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    uow.conn.execute(delete(_runs).where(_run.id.in_(_some(uow, number)[:2])))


def _sum(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    upkeep.sum_up(uow, 1 + number)


def _count_again(uow: UnitOfWork, _: PublishedFlow, __: int) -> None:
    upkeep.start_again(uow)


def _fill(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    upkeep.fill(uow, number)


def _remove_empty(uow: UnitOfWork, _: PublishedFlow, __: int) -> None:
    upkeep.remove_empty(uow)


def _touch(uow: UnitOfWork, _: PublishedFlow, number: int) -> None:
    before = uow.conn.execute(select(func.count()).select_from(RUN_ROLLUP_DELTA)).scalar_one()
    uow.conn.execute(update(_runs).values(updated_at=START + timedelta(seconds=number), status=_run.status))
    assert uow.conn.execute(select(func.count()).select_from(RUN_ROLLUP_DELTA)).scalar_one() == before


OPERATIONS: list[Callable[[UnitOfWork, PublishedFlow, int], None]] = [
    *(_create, _insert_old, _begin, _end, _fail, _archive, _delete, _touch),
    *(_sum, _sum, _fill, _fill, _count_again, _remove_empty),
]


def _apply(uow: UnitOfWork, published: PublishedFlow, sequence: list[tuple[int, int, bool]]) -> list[Any]:
    """Executes the sequence, with parts of it rolled back, and returns the differences."""
    for operation, number, is_kept in sequence:
        savepoint = uow.conn.begin_nested()
        OPERATIONS[operation](uow, published, number)
        if is_kept:
            savepoint.commit()
        else:
            savepoint.rollback()
    while upkeep.fill(uow, 3):
        continue
    found = list(differences(uow.conn))
    while upkeep.sum_up(uow, 5):
        continue
    upkeep.remove_empty(uow)
    found += differences(uow.conn)
    left = select(func.count()).select_from(table(RunRollup)).where(table(RunRollup).c.runs <= 0)
    assert uow.conn.execute(left).scalar_one() == 0
    uow.conn.execute(delete(_runs))
    uow.events.clear()
    found += differences(uow.conn)
    return found


async def _run_sequence(url: str, sequence: list[tuple[int, int, bool]]) -> list[Any]:
    database = open_database(url)
    try:
        published = await database.write(factory.make_project_with_flow, str(ids.new_uuid()))
        return await database.write(_apply, published, sequence)
    finally:
        await database.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 7), st.sampled_from([True, True, True, False])),
        max_size=30,
    )
)
def test_counts_follow_every_sequence_of_changes(database_url: str, sequence: list[tuple[int, int, bool]]) -> None:
    assert asyncio.run(_run_sequence(database_url, sequence)) == []


async def test_check_reports_wrong_counts(database: Database, published: PublishedFlow) -> None:
    values = {"status": RunStatus.FAILED, "failed_step_name": "b", "duration_ms": 7_000}
    await database.write(factory.make_runs, published, [values] * 3)
    await database.write(upkeep.sum_up, 100)
    assert await agree(database)
    rollup = table(RunRollup)
    spoil = update(rollup).where(rollup.c.failed_step_name == "b").values(runs=rollup.c.runs + 1)
    await database.write(lambda uow: uow.conn.execute(spoil) and None)
    found = await database.read(differences)
    assert {(each.kept, each.found) for each in found} == {(4, 3)}
    assert "4 runs are counted, and there are 3" in str(found[0])
    assert all("failed at step 'b'" in str(each) for each in found)
    await database.write(upkeep.start_again)
    with pytest.raises(NotCountedError):
        await database.read(differences)
    await count_old_runs(database)
    assert await agree(database)


async def test_summing_moves_all_changes_and_leaves_no_empty_counts(
    database: Database, published: PublishedFlow
) -> None:
    await database.write(factory.make_runs, published, [{}] * 30)
    await database.write(upkeep.sum_up, 100)
    ended = update(_runs).values(status=RunStatus.STOPPED, duration_ms=None)
    await database.write(lambda uow: uow.conn.execute(ended) and None)
    await keep_counts(database)
    assert await size(database, RUN_ROLLUP_DELTA) == 0
    await database.write(upkeep.remove_empty)
    kept = await database.read(lambda conn: set(conn.execute(select(table(RunRollup).c.status)).scalars()))
    assert kept == {RunStatus.STOPPED}
    assert await agree(database)


@pytest.mark.parametrize("dialect", ["postgresql"])  # SQLite has one writer
async def test_upkeep_of_one_worker_does_not_wait_for_another(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [{}] * 10)
    async with uncommitted(database, lambda uow: upkeep.sum_up(uow, 100)):
        assert not await database.write(upkeep.sum_up, 100)
        await database.write(upkeep.remove_empty)
        await database.write(factory.make_runs, published, [{}] * 10)
        assert await agree(database)
    assert await size(database, RUN_ROLLUP_DELTA) > 0
    assert await agree(database)


async def test_a_broken_off_sum_changes_nothing(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [{}] * 10)

    def fail(uow: UnitOfWork) -> None:
        upkeep.sum_up(uow, 100)
        raise RuntimeError

    before = await size(database, RUN_ROLLUP_DELTA)
    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert await size(database, RUN_ROLLUP_DELTA) == before
    assert await size(database, table(RunRollup)) == 0


async def _change_all_the_time(url: str, published: PublishedFlow, seed: int, stop: asyncio.Event) -> None:
    """Creates, ends and archives runs, one transaction after the other."""
    choose = random.Random(seed)
    database = open_database(url)
    while not stop.is_set():
        operation = choose.choice([_create, _insert_old, _begin, _end, _fail, _archive])
        number = choose.randrange(1_000) * 8 + seed
        await database.write(_in_order, operation, published, number)
    await database.close()


def _in_order(uow: UnitOfWork, operation: Any, published: PublishedFlow, number: int) -> None:
    # Locked in one order, or the writers would lock each other out.
    uow.conn.execute(select(_run.id).order_by(_run.id).with_for_update()).all()
    operation(uow, published, number)


async def test_old_runs_are_counted_once_while_writers_change_them(
    database: Database, published: PublishedFlow, database_url: str
) -> None:
    rows = [{"id": factory.uuid_at(START - timedelta(minutes=7 * number))} for number in range(120)]
    await database.write(factory.make_runs, published, rows)
    await database.write(upkeep.start_again)
    stop = asyncio.Event()
    writers = [asyncio.create_task(_change_all_the_time(database_url, published, seed, stop)) for seed in range(3)]
    others = [open_database(database_url) for _ in range(2)]
    is_counted = False
    while not is_counted:
        for worker in others:
            await worker.write(upkeep.fill, 5)
        with pytest.raises(RuntimeError):
            await others[0].write(_broken_off)
        is_counted = await database.read(_is_counted)
    assert await agree(database)
    for _ in range(20):
        await asyncio.gather(*(worker.write(upkeep.sum_up, 50) for worker in others))
        assert await agree(database)
    stop.set()
    await asyncio.gather(*writers)
    assert await agree(database)
    for worker in others:
        await worker.close()


def _broken_off(uow: UnitOfWork) -> None:
    upkeep.fill(uow, 5)
    raise RuntimeError


def _is_counted(conn: Connection) -> bool:
    return conn.execute(select(table(RunRollupState).c.filled_until)).scalar_one() is None


async def test_the_migration_counts_the_runs_that_were_there(
    new_database_url: Callable[[], str], dialect: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dialect == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'old.db'}"
    else:
        url = new_database_url()
        await query(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    with monkeypatch.context() as before:
        before.setattr(migrate, "_TARGET", _before_rollups())
        before.setattr(text_indexes, "ensure", lambda _: False)
        await asyncio.to_thread(migrate.upgrade, url)
    database = open_at_old_schema(url)
    # No table refers to these rows by a foreign key, and the code cannot insert them into tables of the version before.
    published = PublishedFlow(*ids.new_uuids(3))
    old = await database.write(_insert_as_before, published, 50)
    await database.close()
    await asyncio.to_thread(migrate.upgrade, url)
    database = open_database(url)
    # From the migration on, a process of the version before is counted too.
    end_some = update(_runs).where(_run.id.in_(old[:20])).values(status=RunStatus.STOPPED)
    await database.write(lambda uow: uow.conn.execute(end_some) and None)
    await database.write(factory.make_runs, published, [{}] * 5)
    with pytest.raises(NotCountedError):
        await database.read(differences)
    await keep_counts(database)
    assert await agree(database)
    assert await database.read(answers.counts, RunFilter(), START) == {"STOPPED": 20, "QUEUED": 35}
    await database.close()


def _insert_as_before(uow: UnitOfWork, published: PublishedFlow, count: int) -> list[UUID]:
    """Inserts runs with the columns that the table has by now."""
    known = {column["name"] for column in inspect(uow.conn).get_columns("flow_run")}
    rows = [{**factory.run_values(published), "status": "QUEUED", "updated_at": START} for _ in range(count)]
    own = [{name: value for name, value in row.items() if name in known} for row in rows]
    uow.conn.execute(_runs.insert(), own)
    return [row["id"] for row in rows]


def _before_rollups() -> str:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    before = scripts.get_revision("0010").down_revision
    assert isinstance(before, str)
    return before


async def test_a_new_database_counts_from_its_first_run(database: Database) -> None:
    assert await database.read(_is_counted)
    assert await agree(database)
