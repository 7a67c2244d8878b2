"""The bound that the counts of days give a filter equals a reference in Python, and loses no run."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, RunRollupState
from db.models.types import EPOCH, table
from db.rollups import extent, upkeep
from db.sql.rows import AnyRow
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from tests.db.runs import test_filter as of_filters
from tests.support import factory
from tests.support.clock import START, FakeClock

DAY = timedelta(days=1)
FIRST = datetime(2026, 3, 28, 21, 7, 3, 123_000, tzinfo=UTC)
"""The creation of the oldest run."""
NOW = datetime(2026, 6, 1, tzinfo=UTC)
"""An instant at which no run is recent."""
STATUSES = [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.STOPPED, RunStatus.QUOTA_EXCEEDED]


def fill(uow: UnitOfWork) -> None:
    """Makes runs of three flows in two projects. Each next day lacks another value of each column; the counts of some
    days are summed, and those of the others are left as changes."""
    choose = random.Random(7)
    home = factory.make_project_with_flow(uow, "home")
    flows = [home, factory.make_flow(uow, home.project_id, "second"), factory.make_project_with_flow(uow, "other")]
    for day in range(5):
        for number in range(20):
            created_at = FIRST + day * DAY + timedelta(minutes=number)
            factory.make_run(
                uow,
                choose.choice(flows[: 3 - day // 2]),
                id=factory.uuid_at(created_at, number),
                status=choose.choice(STATUSES[: 5 - day]),
                environment=choose.choice(list(Environment)[: 2 - day // 3]),
                trigger_method=choose.choice(list(TriggerMethod)[: 5 - day]),
                failed_step_name=choose.choice("abcde"[: 5 - day]) if number % 2 else None,
                archived_at=created_at if day < 2 and number % 4 == 0 else None,
            )
        if day == 2:
            assert not upkeep.sum_up(uow, 1_000)


@pytest.fixture
async def rows(filled: Database, fake_clock: FakeClock) -> Sequence[AnyRow]:
    """Every run, all columns. All of them are old."""
    fake_clock.jump((NOW - START).total_seconds())
    return await filled.read(lambda conn: conn.execute(select(table(FlowRun))).all())


def _filters(rows: Sequence[AnyRow]) -> list[RunFilter]:
    projects, flows = sorted({row.project_id for row in rows}), sorted({row.flow_id for row in rows})
    scopes: list[dict[str, Any]] = [
        {},
        {"project_ids": projects[:1]},
        {"flow_ids": flows[:1]},
        {"flow_ids": flows[1:]},
        {"project_ids": projects[1:], "flow_ids": flows},
    ]
    both = {"environments": [Environment.PRODUCTION], "trigger_methods": list(TriggerMethod)[1:]}
    parts: list[dict[str, Any]] = [
        {"environments": [each], "trigger_methods": methods}
        for each in Environment
        for methods in (None, list(TriggerMethod)[3:])
    ]
    parts += [{"statuses": [each], "trigger_methods": list(TriggerMethod)[:2]} for each in STATUSES]
    parts += [{"statuses": STATUSES[number:], "environments": list(Environment)} for number in range(5)]
    parts += [{"archived": Archived.ONLY}, {"archived": Archived.ONLY, "statuses": STATUSES[1:2]}]
    parts += [{"statuses": [RunStatus.PAUSED], "archived": Archived.INCLUDE}]
    parts += [
        {"failed_step_name": step, "archived": Archived.INCLUDE, **more}
        for step in "abcdef"
        for more in ({}, {"environments": [Environment.TESTING]}, {"statuses": STATUSES[1:], **both})
    ]
    return [RunFilter(**scope, **part) for scope, part in product(scopes, parts)]


async def test_bound_is_the_end_of_the_last_day(filled: Database, rows: Sequence[AnyRow]) -> None:
    def check(conn: Connection) -> None:
        ends = set()
        for where in filter(extent.is_searchable, _filters(rows)):
            found = extent.bounded(conn, where)
            runs = of_filters.matching(where, rows)
            step = where.failed_step_name
            if where.trigger_methods and where.environments and where.flow_ids is None and step is None:
                # No level counts by both, so the bound is not the closest one.
                assert of_filters.matching(found, rows) == runs
            elif runs and where.flow_ids is None and step is not None:
                assert found is where
            elif runs:
                last = max(row.created_at for row in runs)
                assert found.created_before == EPOCH + ((last - EPOCH) // DAY + 1) * DAY, where
                ends.add(found.created_before)
            else:
                assert found.ids == (), where
        assert len(ends) == 5

    await filled.read(check)


async def test_closer_bound_of_the_filter_is_kept(filled: Database, rows: Sequence[AnyRow]) -> None:
    for before in (FIRST, NOW):
        where = RunFilter(archived=Archived.ONLY, created_before=before)
        found = await filled.read(extent.bounded, where)
        assert found.created_before == min(before, FIRST.replace(hour=0, minute=0, second=0, microsecond=0) + 2 * DAY)


async def test_recent_runs_have_no_bound_and_are_not_asked_for_again(filled: Database, fake_clock: FakeClock) -> None:
    fake_clock.jump((FIRST + 2 * DAY - START).total_seconds())
    statements = []

    def note(*arguments: Any) -> None:
        statements.append(arguments)

    def ask(conn: Connection) -> None:
        projects = conn.execute(select(table(FlowRun).c.project_id).where(table(FlowRun).c.archived_at.is_not(None)))
        where = RunFilter(project_ids=tuple(set(projects.scalars())), archived=Archived.ONLY)
        event.listen(conn, "before_cursor_execute", note)
        assert [extent.bounded(conn, where) for _ in range(3)] == [where] * 3

    await filled.read(ask)
    assert len(statements) == 1


async def test_no_bound_while_old_runs_are_being_counted(database: Database, fake_clock: FakeClock) -> None:
    where = RunFilter(archived=Archived.ONLY)
    assert (await database.read(extent.bounded, where)).ids == ()
    state = table(RunRollupState)
    await database.write(lambda uow: uow.conn.execute(state.update().values(filled_until=FIRST)) and None)
    assert await database.read(extent.bounded, where) is where
