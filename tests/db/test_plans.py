"""The lists of the console are read from an index, in its order, for any number of runs."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import ColumnElement, Connection, event, select
from sqlalchemy.exc import OperationalError

from db import retention
from db.assembly import COMMIT_STEPS
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.events.log import Scope
from db.models import FlowRun
from db.models.types import Unindexed, table, to_microseconds
from db.queue import due, slots
from db.runs import claims
from db.runs import reads as run_reads
from db.runs.statistics import groups, pickers
from db.runs.statistics.pickers import Picker
from db.runs.transitions import Lease
from db.sql.keyset import Edge, Page, Position
from domain.enums import RunStatus
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from domain.runs.run_group import RunGroup
from tests.support import factory
from tests.support.clock import START

COUNT = 20_000
SECOND = timedelta(seconds=1)
STATUSES = [RunStatus.SUCCEEDED] * 90 + [RunStatus.FAILED] * 9 + [RunStatus.TIMEOUT]
LIVE_COUNT = 40
PAGE = 20
COLUMNS = ("status", "created_at", "tags")


def key_of(number: int) -> UUID:
    return factory.uuid_at(START + (number - COUNT) * SECOND)


def fill(uow: UnitOfWork) -> None:
    """Ten projects with two flows each, that take turns."""
    projects = [factory.make_project_with_flow(uow, f"project {number}") for number in range(10)]
    homes = [*projects, *(factory.make_flow(uow, published.project_id, "second") for published in projects)]
    draw = random.Random(3)
    for turn, published in enumerate(homes):
        keys = factory.make_runs(uow, published, (run(draw, number) for number in range(turn, COUNT, len(homes))))
        factory.make_steps_of_runs(uow, {key: [{}, {}, {}] for key in keys[::4]})
        for key in keys[::8]:
            factory.make_events(uow, published, key, [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED])


def run(draw: random.Random, number: int) -> dict[str, Any]:
    if number >= COUNT - LIVE_COUNT:
        return {"id": key_of(number)}
    status = draw.choice(STATUSES)
    started_at = START + (number - COUNT) * SECOND + draw.random() * SECOND
    took = draw.randrange(100_000)
    is_failed = status is not RunStatus.SUCCEEDED
    return {
        "id": key_of(number),
        "status": status,
        "started_at": started_at,
        "finished_at": started_at + took * timedelta(milliseconds=1),
        "duration_ms": took,
        "failed_step_name": draw.choice(["fetch", "store"]) if is_failed else None,
        "error_fingerprint": f"{number % 50:016x}" if is_failed else None,
        "external_id": f"order {number % 500}" if number % 4 == 0 else None,
        "source": f"schedule {number % 500}" if number % 4 == 1 else None,
        "updated_at": started_at + took * timedelta(milliseconds=1),
        "parent_run_id": key_of(number % 20) if number % 10 == 0 else None,
        "root_run_id": key_of(number % 20) if number % 10 == 0 else key_of(number),
        "retry_of_id": key_of(number // 10 % 20) if number % 10 == 1 else None,
    }


@contextmanager
def statements_on(conn: Connection) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed on a connection, with their parameters; settings, and questions to the planner,
    are left out."""
    found: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(("SET ", "RESET ", "EXPLAIN ")):
            found.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(conn, "before_cursor_execute", note)


def plan_of(conn: Connection, read: Callable[[Connection], object]) -> list[str]:
    """How the database carries out the first statement of `read`: the nodes of its plan."""
    with statements_on(conn) as statements:
        read(conn)
    return explained(conn, *statements[0])


def plans_of(conn: Connection, read: Callable[[Connection], object]) -> list[list[str]]:
    """How the database carries out each statement of `read`."""
    with statements_on(conn) as statements:
        read(conn)
    return [explained(conn, *statement) for statement in statements]


def explained(conn: Connection, statement: str, parameters: Any) -> list[str]:
    if conn.dialect.name == "sqlite":
        return [row.detail for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    plan = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    return list(nodes(orjson.loads(plan)[0]["Plan"]))


def nodes(plan: Any) -> Iterator[str]:
    yield f"{plan['Node Type']} {plan.get('Index Name', '')}".strip()
    for inner in plan.get("Plans", ()):
        # A limit is looked up by its key; while there are a few flows and projects, reading them all is as good.
        if inner.get("Relation Name") not in ("flow", "project"):
            yield from nodes(inner)


Read = Callable[[Connection, UUID, UUID], object]


def unit(conn: Connection) -> UnitOfWork:
    return UnitOfWork(conn, COMMIT_STEPS)


def listed(field: RunOrderField = RunOrderField.CREATED_AT, descending: bool = True, /, **filter_: Any) -> Read:
    """The first page of a project's runs."""
    return lambda conn, project, _: run_reads.page(
        conn, COLUMNS, RunFilter(project_ids=[project], **filter_), RunOrder(field, descending), Page(PAGE)
    )


def listed_by(**filter_: Any) -> Read:
    """The first page of runs of any project, newest first."""
    return lambda conn, *_: run_reads.page(conn, COLUMNS, RunFilter(**filter_), RunOrder(), Page(PAGE))


def listed_of_flow(conn: Connection, project: UUID, flow: UUID) -> object:
    return run_reads.page(conn, COLUMNS, RunFilter(project_ids=[project], flow_ids=[flow]), RunOrder(), Page(PAGE))


def continued(field: RunOrderField, value: int, *, backward: bool = False) -> Read:
    """A page in the middle of a project's runs."""
    place = Position(value, key_of(COUNT // 2))
    page = Page(PAGE, before=place, backward=True) if backward else Page(PAGE, after=place)
    return lambda conn, project, _: run_reads.page(
        conn, COLUMNS, RunFilter(project_ids=[project]), RunOrder(field), page
    )


def beyond(field: RunOrderField, value: int) -> Read:
    edge = Edge(Position(value, key_of(COUNT // 2)), before=True)
    return lambda conn, project, _: run_reads.has_more(conn, RunFilter(project_ids=[project]), RunOrder(field), edge)


MIDDLE = to_microseconds(START - COUNT // 2 * SECOND)
PLANS: dict[str, tuple[str, Read]] = {
    "a project's, newest first": ("ix_run_project", listed()),
    "a project's, oldest first": ("ix_run_project", listed(RunOrderField.CREATED_AT, False)),
    "from the middle on": ("ix_run_project", continued(RunOrderField.CREATED_AT, 0)),
    "up to the middle": ("ix_run_project", continued(RunOrderField.CREATED_AT, 0, backward=True)),
    "whether there are more": ("ix_run_project", beyond(RunOrderField.CREATED_AT, 0)),
    "of one status": ("ix_run_project_status", listed(statuses=[RunStatus.FAILED])),
    "of the usual status": ("ix_run_project(_status)?", listed(statuses=[RunStatus.SUCCEEDED])),
    "of one flow": ("ix_run_flow", listed_of_flow),
    "last started": ("ix_run_project_started", listed(RunOrderField.STARTED_AT)),
    "first started": ("ix_run_project_started", listed(RunOrderField.STARTED_AT, False)),
    "started from the middle on": ("ix_run_project_started", continued(RunOrderField.STARTED_AT, MIDDLE)),
    "whether more were started": ("ix_run_project_started", beyond(RunOrderField.STARTED_AT, MIDDLE)),
    "last finished": ("ix_run_project_finished", listed(RunOrderField.FINISHED_AT)),
    "first finished": ("ix_run_project_finished", listed(RunOrderField.FINISHED_AT, False)),
    "finished from the middle on": ("ix_run_project_finished", continued(RunOrderField.FINISHED_AT, MIDDLE)),
    "longest": ("ix_run_project_duration", listed(RunOrderField.DURATION)),
    "shortest": ("ix_run_project_duration", listed(RunOrderField.DURATION, False)),
    "longest from the middle on": ("ix_run_project_duration", continued(RunOrderField.DURATION, 50_000)),
    "last changed": ("ix_run_project_updated", listed(RunOrderField.UPDATED_AT)),
    "first changed": ("ix_run_project_updated", listed(RunOrderField.UPDATED_AT, False)),
    "changed from the middle on": ("ix_run_project_updated", continued(RunOrderField.UPDATED_AT, MIDDLE)),
    "changed since": (
        "ix_run_project_updated",
        listed(RunOrderField.UPDATED_AT, False, updated_after=START - 100 * SECOND),
    ),
    "changed within a time": (
        "ix_run_project_updated",
        listed(RunOrderField.UPDATED_AT, True, updated_within="PT5M"),
    ),
    "created within a time": ("ix_run_project", listed(created_within="PT10M")),
    "of a source": ("ix_run_source", listed(sources=["schedule 5"])),
    "of a schedule": ("ix_run_source", listed(schedule_ids=["schedule 5"])),
    "of all but one status": (
        "ix_run_project(_status)?",
        listed(not_=RunFilter.part(statuses=[RunStatus.SUCCEEDED])),
    ),
    "not created lately": (
        "ix_run_project",
        listed(not_=RunFilter.part(created_after=START - 9_000 * SECOND)),
    ),
    "created in a time": (
        "ix_run_project",
        listed(created_after=START - 9_000 * SECOND, created_before=START - 8_000 * SECOND),
    ),
    "that failed at a step": ("ix_run_failed_step", listed(failed_step_name="store")),
    "with one error": ("ix_run_fingerprint", listed(error_fingerprint=f"{7:016x}")),
    "called so by their starter": ("ix_run_external", listed(external_ids=["order 4"])),
    "of a parent": ("ix_run_parent", listed_by(parent_run_id=key_of(0))),
    "that retry one": ("ix_run_retry_of", listed_by(retry_of_id=key_of(10))),
    "due": ("ix_run_due", lambda conn, *_: claims.claim(unit(conn), 10, SECOND)),
    "waiting in a line": ("ix_run_blocked", lambda conn, _, flow: slots._first_waiting(conn, [flow], 10)),
    "kept too long": ("ix_run_kept", lambda conn, project, _: retention._expired_of(unit(conn), project, SECOND, 10)),
    "the next due": ("ix_run_due", lambda conn, *_: due.next_due(conn)),
    "of an idempotency key": (
        "uq_run_idempotency",
        lambda conn, project, _: run_reads.by_idempotency_key(conn, project, "x"),
    ),
}
"""What is read, and the index that it is read from."""

UNWANTED = ("Sort", "Seq Scan", "Bitmap", "TEMP B-TREE", "SCAN flow_run")


def plan(conn: Connection, read: Read) -> list[str]:
    return plan_of(conn, of_first_run(conn, read))


def of_first_run(conn: Connection, read: Read) -> Callable[[Connection], object]:
    """The read of the project and the flow of a run."""
    runs_row = table(FlowRun).c
    first = conn.execute(select(runs_row.project_id, runs_row.flow_id).where(runs_row.id == key_of(0))).one()
    return lambda conn: read(conn, first.project_id, first.flow_id)


@pytest.mark.parametrize("name", list(PLANS))
async def test_runs_are_read_from_an_index_without_sorting(filled: Database, name: str) -> None:
    index, read = PLANS[name]
    found = await filled.read(plan, read)
    assert any(re.search(rf"\b{index}\b", node) for node in found), found
    assert not [node for node in found for unwanted in UNWANTED if unwanted in node and index not in node], found


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "index"), [("failed_step_name", "ix_run_failed_step"), ("error_fingerprint", "ix_run_fingerprint")]
)
async def test_a_page_in_another_order_cannot_be_read_from_the_partial_index_of_a_column(
    filled: Database, name: str, index: str
) -> None:
    """SQLite would, for some lengths of pages, and sort all runs that the index has."""
    columns = table(FlowRun).c
    named = select(columns.id).where(columns.project_id == key_of(0))

    def read(conn: Connection, column: ColumnElement[Any]) -> None:
        statement = str(named.where(column == "x").compile(conn, compile_kwargs={"literal_binds": True}))
        conn.exec_driver_sql(statement.replace("FROM flow_run", f"FROM flow_run INDEXED BY {index}"))

    def refuse(conn: Connection) -> None:
        with pytest.raises(OperationalError, match="no query solution"):
            read(conn, Unindexed(columns[name]))

    await filled.read(read, columns[name])
    await filled.read(refuse)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_groups_by_flow_are_not_read_in_the_order_of_flows(filled: Database) -> None:
    """SQLite would, to sort nothing, and look for each run on another page."""

    def read(conn: Connection, project_id: UUID) -> list[list[str]]:
        where = RunFilter(project_ids=[project_id], min_duration_ms=1)
        return plans_of(conn, lambda conn: groups.counts(conn, where, START, RunGroup.FLOW, 20))

    plans = await filled.read(read, key_of(0))
    assert any("GROUP BY" in node for node in plans[-1]), plans
    assert not [node for node in plans[-1] if "ix_run_flow" in node], plans


@pytest.mark.parametrize(
    ("condition", "times"),
    [
        ({"tags": ["a"]}, 1),
        ({"failed_step_name": "fetch"}, 0),
        ({"error_fingerprint": "0"}, 0),
        ({"ids": [key_of(0)]}, 0),
    ],
)
async def test_errors_are_not_asked_for_where_the_filter_implies_them(
    filled: Database, condition: Any, times: int
) -> None:
    """PostgreSQL would take the runs with both for a few, and read the indexes of both as a whole."""

    def read(conn: Connection, project_id: UUID) -> list[tuple[str, Any]]:
        where = RunFilter(project_ids=[project_id], **condition)
        with pytest.MonkeyPatch.context() as patch, statements_on(conn) as statements:
            patch.setattr(pickers, "narrow", lambda _, where, __: where)  # The few matching runs would be named.
            pickers.values(conn, where, START, Picker.ERROR_CODE, (), "", 20)
        return statements

    statements = await filled.read(read, key_of(0))
    assert [text.count("error_message IS NOT NULL") for text, _ in statements if "error_code" in text] == [times]


async def test_family_is_read_from_the_index_of_its_root(filled: Database) -> None:
    found = await filled.read(plan, listed_by(root_run_id=key_of(0)))
    assert any("ix_run_root" in node for node in found), found
    assert not [node for node in found if "Seq Scan" in node or "SCAN flow_run" in node], found


async def test_alternatives_are_read_from_their_indexes(filled: Database) -> None:
    """On PostgreSQL only if few runs match each alternative; otherwise the newest runs are read one after the other."""
    parts = [RunFilter.part(failed_step_name="nowhere"), RunFilter.part(external_ids=["order 4"])]
    plans = await filled.read(lambda conn: plans_of(conn, of_first_run(conn, listed(or_=parts))))
    found = [node for each in plans for node in each]
    assert any("ix_run_failed_step" in node for node in found), found
    assert any("ix_run_external" in node for node in found), found


async def test_runs_of_every_project_are_read_in_the_order_of_their_ids(filled: Database) -> None:
    found = await filled.read(plan, listed_by())
    assert any("flow_run_pkey" in node or "sqlite_autoindex_flow_run_1" in node for node in found), found
    assert not [node for node in found if "Sort" in node or "TEMP B-TREE" in node], found


KEYS = [key_of(number) for number in range(15)]
BY_KEYS: dict[str, Read] = {
    "runs": lambda conn, *_: run_reads.by_ids(conn, KEYS, COLUMNS),
    "steps": lambda conn, *_: run_reads.steps_by_runs(conn, KEYS, ("status",)),
    "steps by name": lambda conn, *_: run_reads.steps_by_names(conn, [(key, "a") for key in KEYS], ("status",)),
    "attempts": lambda conn, *_: run_reads.attempts_by_steps(conn, [(key, 0) for key in KEYS]),
    "changes": lambda conn, *_: event_log.status_changes_by_runs(conn, KEYS),
    "events of a run": lambda conn, *_: event_log.page(conn, 0, 2**62, Scope(run_id=KEYS[0]), PAGE),
    "children": lambda conn, *_: run_reads.pages_by(
        conn, KEYS, "parent_run_id", (), RunOrder(descending=False), Page(3)
    ),
    "retries": lambda conn, *_: run_reads.counts_by(conn, KEYS, "retry_of_id"),
    "renewed leases": lambda conn, *_: claims.renew(unit(conn), [Lease(key, key) for key in KEYS], SECOND),
}


@pytest.mark.parametrize("name", list(BY_KEYS))
async def test_reads_by_keys_search_the_primary_key(filled: Database, name: str) -> None:
    found = await filled.read(plan, BY_KEYS[name])
    # PostgreSQL would read an empty table as a whole at no cost; SQLite shows the index of the key.
    searched = [node for node in found if node.startswith(("SCAN flow_run", "SCAN step", "SCAN run_event"))]
    assert not searched, found
    assert not any(node == "Seq Scan" for node in found), found
