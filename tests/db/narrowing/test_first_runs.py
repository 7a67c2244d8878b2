"""Pages of filters whose fields exclude each other, or bound other times than that of the order."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, insert, select, update

from db import projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import Flow, FlowRun, FlowVersion
from db.models.types import table
from db.narrowing import first_runs, narrow, pages, postgresql
from db.runs import reads
from db.runs.filter import matches
from db.sql.keyset import Page, Position, sort_value
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from tests.db.test_plans import statements_on
from tests.support import factory
from tests.support.clock import START

COUNT = 1_200
DRAWS = 200
SECOND = timedelta(seconds=1)
MIDDLE = START - COUNT // 2 * SECOND
_run = table(FlowRun).c
_flow = table(Flow).c
_version = table(FlowVersion).c


def key_of(number: int) -> UUID:
    created = START - (COUNT - number) * SECOND
    return UUID(int=(int(created.timestamp() * 1_000) << 80) | (7 << 76) | (8 << 60) | number)


def fill(uow: UnitOfWork) -> None:
    """Runs, some of which wait long, last long, are changed long after their end, or have not started or ended."""
    flows = [factory.make_project_with_flow(uow, name=f"project {number}") for number in range(2)]
    draw = random.Random(3)
    uow.conn.execute(insert(table(FlowRun)), [row(number, flows[number % 3 == 1], draw) for number in range(COUNT)])


def row(number: int, flow: Any, draw: random.Random) -> dict[str, Any]:
    created = START - (COUNT - number) * SECOND
    status = draw.choices(
        (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.QUEUED),
        (80, 12, 3, 3, 2),
    )[0]
    started = None if status is RunStatus.QUEUED else created + draw.choice((1, 1, 1, 200)) * SECOND
    took = draw.choice((1, 2, 3, 400))
    has_ended = status in (RunStatus.SUCCEEDED, RunStatus.FAILED)
    finished = started + took * SECOND if has_ended and started is not None else None
    values: dict[str, Any] = dict.fromkeys(each.name for each in table(FlowRun).c if each.server_default is None)
    return values | {
        "id": key_of(number),
        "root_run_id": key_of(number),
        "project_id": flow.project_id,
        "flow_id": flow.flow_id,
        "flow_version_id": flow.version_id,
        "status": status,
        "environment": Environment.TESTING if number % 4 == 0 else Environment.PRODUCTION,
        "trigger_method": TriggerMethod.SCHEDULE if number % 3 == 0 else TriggerMethod.API,
        "created_at": created,
        "started_at": started,
        "finished_at": finished,
        "updated_at": (finished or started or created) + draw.choice((0, 0, 0, 900)) * SECOND,
        "archived_at": START if number % 40 == 9 else None,
        "duration_ms": took * 1_000 if finished is not None else None,
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "failed_step_name": "charge" if status is RunStatus.FAILED else None,
        "error_message": f"The request answered {number % 7}" if status is RunStatus.FAILED else None,
        "error_fingerprint": f"{number % 4:016x}" if status is RunStatus.FAILED else None,
        "tags": [f"team-{number % 4}"],
        "metadata": f'{{"region": "eu-{number % 3}"}}',
        "input": "{}",
    }


@pytest.fixture
async def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with these runs, in which every walk is cut short and every search for all runs is worth while."""
    await database.write(fill)
    monkeypatch.setattr(first_runs, "_LENGTH", {"postgresql": 30, "sqlite": 30})
    for name, value in (("_PER_RUN", 1), ("_CHEAP", 0), ("_GAIN", 0), ("_LONGEST", 1)):
        monkeypatch.setattr(first_runs, name, value)
    first_runs._ways.clear()
    first_runs._ends.clear()
    for module in (narrow, pages, postgresql):
        monkeypatch.setattr(module, "FEW", 20)  # Filters with few runs are named before.
    return database


def drawn(draw: random.Random, project_ids: Sequence[UUID], flow_ids: Sequence[UUID], version_id: UUID) -> RunFilter:
    """Returns a filter of one to four fields, over one project, several or all."""

    def instant() -> datetime:
        return START - draw.randrange(COUNT) * SECOND

    times = {f"{time}_{side}": instant() for time in ("created", "started", "finished", "updated") for side in SIDES}
    choices: Mapping[str, Any] = times | {
        "flow_ids": draw.choice((tuple(flow_ids), (flow_ids[0],), (UUID(int=1),))),
        "flow_version_ids": (version_id,),
        "statuses": (draw.choice((RunStatus.SUCCEEDED, RunStatus.FAILED)),),
        "environments": (draw.choice(list(Environment)),),
        "trigger_methods": (draw.choice((TriggerMethod.API, TriggerMethod.SCHEDULE)),),
        "tags": (f"team-{draw.randrange(4)}",),
        "any_tags": (f"team-{draw.randrange(4)}", "team-0"),
        "metadata": f'{{"region": "eu-{draw.randrange(3)}"}}',
        "error_contains": "answered",
        "min_duration_ms": draw.choice((0, 2_000, 400_000, 900_000)),
        "max_duration_ms": draw.choice((1_000, 3_000, 400_000)),
        "archived": draw.choice(list(Archived)),
        "not_": RunFilter.part(tags=("team-1",)),
        "or_": (RunFilter.part(tags=("team-1",)), RunFilter.part(statuses=(RunStatus.FAILED,))),
    }
    names = draw.sample(list(choices), draw.randrange(1, 5))
    owners = draw.choice((tuple(project_ids[:1]), tuple(project_ids[:1]), tuple(project_ids), None))
    return RunFilter(project_ids=owners, **{name: choices[name] for name in names})


SIDES = ("after", "before")


@pytest.mark.usefixtures("fake_clock")
async def test_pages_have_the_runs_that_match(filled: Database) -> None:
    draw = random.Random(77)

    def check(conn: Connection) -> Mapping[int, int]:
        project_ids = [key for number in range(2) if (key := projects.by_name(conn, f"project {number}")) is not None]
        flow_ids = conn.execute(select(_flow.id).order_by(_flow.project_id)).scalars().all()
        version_id = conn.execute(select(_version.id).where(_version.flow_id == flow_ids[0])).scalar_one()
        searched = {1: 0, 2: 0}
        for _ in range(DRAWS):
            where, order = (
                drawn(draw, project_ids, flow_ids, version_id),
                RunOrder(draw.choice(list(RunOrderField)), draw.random() < 0.5),
            )
            sorted_by = reads.SORT_COLUMNS[order.field]
            runs = conn.execute(select(table(FlowRun)).where(matches(where, conn.dialect.name))).all()
            runs = sorted(runs, key=lambda run: (sort_value(run, sorted_by), run.id), reverse=order.descending)
            backward, start = draw.random() < 0.3, draw.choice((None, draw.randrange(COUNT)))
            page = Page(7, backward=backward)
            if start is not None:
                at = conn.execute(select(table(FlowRun)).where(_run.id == key_of(start))).one()
                place = Position(sort_value(at, sorted_by), at.id)
                page = Page(7, before=place, backward=True) if backward else Page(7, after=place)
                keys = [(sort_value(run, sorted_by), run.id) for run in runs]
                is_before = [(key < (place.value, place.id)) is not order.descending for key in keys]
                is_place = [key == (place.value, place.id) for key in keys]
                runs = [
                    run
                    for run, before, same in zip(runs, is_before, is_place, strict=True)
                    if not same and before is backward
                ]
            expected = runs[-7:] if backward else runs[:7]
            with statements_on(conn) as executed:
                found = reads.page(conn, ("status",), where, order, page)
            assert [run.id for run in found] == [run.id for run in expected], (where, order, page)
            owners = 2 if where.project_ids is None else len(where.project_ids)
            searched[owners] += any("MATERIALIZED" in text or "INTERSECT" in text for text, _ in executed)
        return searched

    # The filters of most draws have runs far from the beginning of the order.
    searched = await filled.read(check)
    assert searched[1] > DRAWS // 40
    assert searched[2] > DRAWS // 40


@pytest.mark.parametrize("dialect", ["sqlite"])  # PostgreSQL plans to sort these runs
@pytest.mark.usefixtures("fake_clock")
async def test_a_longer_page_is_found_by_itself(filled: Database) -> None:
    numbers = [*range(40), COUNT - 1]
    tagged = update(table(FlowRun)).where(_run.id.in_(map(key_of, numbers))).values({_run.tags: ["seldom"]})
    await filled.write(lambda uow: uow.conn.execute(tagged) and None)

    def ids_of(conn: Connection, limit: int) -> Sequence[UUID] | None:
        project_id = conn.execute(select(_run.project_id).where(_run.id == key_of(COUNT - 1))).scalar_one()
        where = RunFilter(project_ids=(project_id,), tags=("seldom",))
        return reads.narrowed_page(conn, where, RunOrder(RunOrderField.CREATED_AT, descending=True), Page(limit)).ids

    assert await filled.read(ids_of, 1) is None  # a walk finds it at once
    assert await filled.read(ids_of, 20) is not None
