"""The counts equal the runs, whatever changes these: in every order, by several writers, when work is broken off."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, text, update

from db import migrate
from db.assembly import open_database
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import RUN_ROLLUP_DELTA, FlowRun, RunRollup, RunRollupState
from db.models.types import EPOCH, table
from db.rollups import upkeep
from db.rollups.check import NotCountedError, differences
from db.runs import transitions
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.state_machine import FINAL, LIVE
from engine.worker.maintenance import count_old_runs, keep_counts
from tests.conftest import Dialect
from tests.support import factory
from tests.support.clock import START, FakeClock
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
        transitions.start(uow, claimed)


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


def _count_anew(uow: UnitOfWork, _: PublishedFlow, __: int) -> None:
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
    *(_sum, _sum, _fill, _fill, _count_anew, _remove_empty),
]


def _apply(uow: UnitOfWork, published: PublishedFlow, sequence: list[tuple[int, int, bool]]) -> list[Any]:
    """Does what the sequence says, with parts of it undone, and returns the differences."""
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 7), st.sampled_from([True, True, True, False])),
        max_size=40,
    )
)
def test_counts_follow_every_sequence_of_changes(
    runner: asyncio.Runner, any_database: tuple[Database, PublishedFlow], sequence: list[tuple[int, int, bool]]
) -> None:
    database, published = any_database
    assert runner.run(database.write(_apply, published, sequence)) == []
