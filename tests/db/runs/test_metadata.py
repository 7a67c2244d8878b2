"""Containment of JSON equals PostgreSQL's `@>`, also on SQLite."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from db.core.database import Database
from db.core.sqlite import json_contains
from db.core.unit_of_work import UnitOfWork
from db.runs import indexes
from db.runs import reads as run_reads
from db.sql.keyset import Page
from domain.runs.run_filter import RunFilter, RunOrder
from tests.support import factory
from tests.support.factory import PublishedFlow

CASES: list[tuple[Any, Any, bool]] = [
    ({}, {}, True),
    ({"a": 1}, {}, True),
    ({}, {"a": 1}, False),
    ({"a": 1, "b": 2}, {"a": 1}, True),
    ({"a": 1}, {"a": 2}, False),
    ({"a": 1}, {"a": 1.0}, True),
    ({"a": 1.0}, {"a": 1}, True),
    ({"a": 0}, {"a": -0.0}, True),
    ({"a": 0.1}, {"a": 0.1}, True),
    ({"a": 9007199254740993}, {"a": 9007199254740992.0}, False),
    ({"a": 18446744073709551615}, {"a": 18446744073709551615}, True),
    ({"a": True}, {"a": 1}, False),
    ({"a": 1}, {"a": True}, False),
    ({"a": False}, {"a": 0}, False),
    ({"a": True}, {"a": True}, True),
    ({"a": None}, {"a": None}, True),
    ({"a": None}, {}, True),
    ({}, {"a": None}, False),
    ({"a": 0}, {"a": None}, False),
    ({"a": False}, {"a": None}, False),
    ({"a": "1"}, {"a": 1}, False),
    ({"a": "x"}, {"a": "X"}, False),
    ({"a": ""}, {"a": ""}, True),
    ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1}}}, True),
    ({"a": {"b": 1}}, {"b": 1}, False),
    ({"a": {"b": 1}}, {"a": {}}, True),
    ({"a": [1]}, {"a": {}}, False),
    ({"a": {}}, {"a": []}, False),
    ({"a": 1}, {"a": {}}, False),
    ({"a": [1, 2, 3]}, {"a": [3, 1]}, True),
    ({"a": [1, 2]}, {"a": [1, 1, 1]}, True),
    ({"a": [1, 2]}, {"a": [1, 4]}, False),
    ({"a": [1]}, {"a": []}, True),
    ({"a": []}, {"a": [None]}, False),
    ({"a": [True]}, {"a": [1]}, False),
    ({"a": [1, 2]}, {"a": 1}, False),
    ({"a": 1}, {"a": [1]}, False),
    ({"a": [[1, 2], [3]]}, {"a": [[2]]}, True),
    ({"a": [[1], [2]]}, {"a": [[1, 2]]}, False),
    ({"a": [1, [2]]}, {"a": [2]}, False),
    ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}, {"c": 2}]}, True),
    ({"a": [{"b": 1}, {"c": 2}]}, {"a": [{"b": 1, "c": 2}]}, False),
    ({"ключ": "日本 🙂"}, {"ключ": "日本 🙂"}, True),
    ({"a": "é"}, {"a": "e\u0301"}, False),
    ({'q"\\/': "it's\n"}, {'q"\\/': "it's\n"}, True),
    ({"": 1}, {"": 1}, True),
]


def dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def found(uow: UnitOfWork, published: PublishedFlow, document: Any, probe: Any) -> bool:
    """True if a run with the metadata `document` matches `probe`. The run is removed again."""
    point = uow.conn.begin_nested()
    factory.make_run(uow, published, metadata=dumps(document))
    indexes.update(uow)  # Otherwise this happens before the commit.
    rows = run_reads.page(uow.conn, (), RunFilter(metadata=dumps(probe)), RunOrder(), Page(2))
    point.rollback()
    return len(rows) == 1


def all_found(uow: UnitOfWork, published: PublishedFlow) -> list[bool]:
    return [found(uow, published, document, probe) for document, probe, _ in CASES]


async def test_metadata_filter_matches_contained_documents(database: Database, published: PublishedFlow) -> None:
    answers = await database.write(all_found, published)
    wrong = [case for case, answer in zip(CASES, answers, strict=True) if answer is not case[2]]
    assert wrong == []


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 1.5, -0.5]) | st.sampled_from("ab")
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("ab"), JSON | TEXT, max_size=2)


def postgresql_contains(conn: Connection, pairs: list[tuple[Any, Any]]) -> list[bool]:
    query = text("SELECT CAST(:document AS text)::jsonb @> CAST(:probe AS text)::jsonb")
    return [
        bool(conn.execute(query, {"document": dumps(document), "probe": dumps(probe)}).scalar())
        for document, probe in pairs
    ]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(OBJECTS, OBJECTS), min_size=10, max_size=10))
async def test_sqlite_containment_equals_postgresql(database: Database, pairs: list[tuple[Any, Any]]) -> None:
    ours = [json_contains(dumps(document), dumps(probe)) for document, probe in pairs]
    assert ours == await database.read(postgresql_contains, pairs)


async def test_metadata_is_read_as_text(database: Database, published: PublishedFlow) -> None:
    key = await database.write(factory.make_run, published, metadata='{"a": [1.0, null, "ü"]}')
    row = (await database.read(run_reads.by_ids, [key], {"metadata"}))[key]
    assert row.metadata == '{"a": [1.0, null, "ü"]}'
