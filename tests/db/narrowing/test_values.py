"""PostgreSQL's index of the values in the metadata of runs: what it finds, and that it follows every change."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Connection, delete, text, update

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.narrowing import narrow, values
from domain.runs.metadata_condition import MetadataCondition
from domain.runs.run_filter import RunFilter
from tests.support import factory
from tests.support.factory import PublishedFlow

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)

LONG = "long " * 30
DOCUMENTS: Sequence[dict[str, Any]] = (
    {},
    {"a": 1},
    {"a": 1.5, "b": "x"},
    {"a": -2, "b": "xy"},
    {"a": 1e308},
    {"a": 5e-324},
    {"a": 18446744073709551615},
    {"a": "1"},
    {"a": "ä 🙂"},
    {"a": LONG + "1"},
    {"a": LONG + "2"},
    {"a": ""},
    {"a": True},
    {"a": None},
    {"a": []},
    {"a": [{"b": 1}]},
    {"a": {}},
    {"a": {"b": 1}},
    {"a": {"b": {"c": "deep", "d": 7}}},
    {"a": {"b": None}},
    {"a.b": 1},
    {"a\u001fb": 1},
)
CONDITIONS = [
    MetadataCondition(path=path, **values)
    for path in (("a",), ("b",), ("a", "b"), ("a", "b", "c"), ("a", "b", "d"), ("a.b",), ("c",))
    for values in (
        {"exists": True},
        {"prefix": "x"},
        {"prefix": "ä"},
        {"prefix": LONG},
        {"prefix": LONG + "2"},
        {"prefix": "de"},
        {"at_least": 1},
        {"greater_than": 1},
        {"less_than": 1},
        {"at_most": 1.5, "at_least": 1.5},
        {"at_least": 2, "at_most": 1},
        {"exists": True, "at_least": 7},
    )
]


def make(uow: UnitOfWork, published: PublishedFlow) -> list[UUID]:
    return factory.make_runs(uow, published, [{"metadata": orjson.dumps(each).decode()} for each in DOCUMENTS])


def where(published: PublishedFlow, *conditions: MetadataCondition) -> RunFilter:
    return RunFilter(project_ids=(published.project_id,), metadata_conditions=conditions)


def rows(conn: Connection) -> list[tuple[Any, ...]]:
    query = "SELECT key, number::text, word, run_id FROM run_metadata ORDER BY key, number, word, run_id"
    return [tuple(row) for row in conn.execute(text(query))]


async def test_all_matching_runs_are_found(database: Database, published: PublishedFlow) -> None:
    runs = await database.write(make, published)
    # Only their first characters are kept, and a path is a text, so that a condition finds these as well.
    similar = {runs[9], runs[10], runs[21]}

    def check(conn: Connection) -> None:
        for condition in CONDITIONS:
            found = values.fewest(conn, where(published, condition), 100)
            matches = condition.predicate()
            expected = {run for run, document in zip(runs, DOCUMENTS, strict=True) if matches(document)}
            assert found is not None
            assert expected <= set(found) <= expected | similar, condition

    await database.read(check)


async def test_more_runs_than_requested_are_not_few(database: Database, published: PublishedFlow) -> None:
    await database.write(make, published)
    exists, number = MetadataCondition(path=("a",), exists=True), MetadataCondition(path=("a",), at_most=-1)

    def check(conn: Connection) -> None:
        assert values.fewest(conn, where(published, exists), 3) is None
        few = values.fewest(conn, where(published, exists, number), 3)
        assert few is not None
        assert len(few) == 1

    await database.read(check)


async def test_parts_of_or_are_searched_one_by_one(database: Database, published: PublishedFlow) -> None:
    runs = await database.write(make, published)
    tagged = await database.write(factory.make_run, published, tags=["tag"])
    number, other = MetadataCondition(path=("a",), at_most=-1), MetadataCondition(path=("b",), prefix="xy")

    def named(*parts: RunFilter) -> Any:
        where = RunFilter(project_ids=(published.project_id,), or_=parts)
        return database.read(lambda conn: narrow.narrow(conn, where).ids)

    by_number, by_tag = RunFilter(metadata_conditions=(number,)), RunFilter(tags=["tag"])
    assert await named(by_number, RunFilter(metadata_conditions=(other,))) == (runs[3],)
    assert set(await named(by_number, by_tag)) == {runs[3], tagged}
    assert set(await named(by_number, RunFilter(metadata='{"b": "x"}'))) == {runs[2], runs[3]}
    assert await named(by_number, RunFilter(failed_step_name="a")) is None
    # The planner knows these.
    assert await named(by_tag, RunFilter(failed_step_name="a")) is None


async def test_runs_of_other_projects_are_not_found(database: Database, published: PublishedFlow) -> None:
    await database.write(make, published)
    other = await database.write(factory.make_project_with_flow, name="other")
    exists = MetadataCondition(path=("a",), exists=True)
    assert (await database.read(narrow.narrow, where(other, exists))).ids == ()
    everywhere = RunFilter(metadata_conditions=(exists,))
    assert len((await database.read(narrow.narrow, everywhere)).ids or ()) > 10


async def test_changed_and_deleted_runs_leave_no_values(database: Database, published: PublishedFlow) -> None:
    run, *others = await database.write(make, published)
    model = table(FlowRun)

    def change(uow: UnitOfWork, document: Any) -> None:
        uow.conn.execute(update(model).where(model.c.id == run).values(metadata=orjson.dumps(document).decode()))

    before = await database.read(rows)
    await database.write(change, {"a": {"b": {"c": 1}}, "d": "new"})
    assert len(await database.read(rows)) == len(before) + 4
    await database.write(change, {})
    assert await database.read(rows) == before
    await database.write(lambda uow: uow.conn.execute(delete(model).where(model.c.id.in_(others))))
    assert await database.read(rows) == []


async def test_values_of_earlier_runs_are_added(database: Database, published: PublishedFlow) -> None:
    runs = await database.write(make, published)
    complete = await database.read(rows)
    exists = MetadataCondition(path=("a",), exists=True)

    def go_back(uow: UnitOfWork) -> None:
        uow.conn.execute(text("DELETE FROM run_metadata"))
        uow.conn.execute(text("UPDATE run_metadata_fill SET last = :last"), {"last": max(runs)})

    await database.write(go_back)
    later = await database.write(factory.make_run, published, metadata='{"a": 3}')
    # Until all are there, runs are not named.
    assert (await database.read(narrow.narrow, where(published, exists))).ids is None
    assert [await database.write(values.fill, 10) for _ in range(4)] == [10, 10, len(runs) - 20, 0]
    added = await database.read(rows)
    assert [row for row in added if row[3] != later] == complete
    assert later in ((await database.read(narrow.narrow, where(published, exists))).ids or ())
