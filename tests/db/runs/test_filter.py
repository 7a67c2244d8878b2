"""Each filter means the same rows as a few lines of Python that say the same."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from db import projects
from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.runs import reads as run_reads
from db.sql.keyset import Page
from db.sql.rows import AnyRow
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.run_filter import Archived, RunFilter, RunOrder
from domain.state_machine import FINAL, UNSUCCESSFUL
from live.matching import CompiledFilter, now
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import PublishedFlow

COUNT = 300
MS = timedelta(milliseconds=1)
OLDEST = START - timedelta(minutes=1)
UNKNOWN = factory.uuid_at(START, 4_000)

TAGS = ["red", "RED", "blue", "a%", "a_", "x y", "it's", 'say "hi"', "ä", "日本", "🙂", "\\", "{}", "null"]
MESSAGES = [
    None,
    "",
    "timed out",
    "Timed OUT after 5 s",
    "100% wrong",
    "100 percent wrong",
    "snake_case",
    "snakeXcase",
    "back\\slash",
    "for/ward",
    "it's 'quoted' \"twice\"",
    "ünïcode 日本 🙂",
    "ÜNÏCODE Straße İI",
    "K is no K",
    "two\nlines",
]
METADATA: list[dict[str, Any]] = [
    {},
    {"a": 1},
    {"a": 1.0},
    {"a": 1.5},
    {"a": True},
    {"a": None},
    {"a": "1"},
    {"a": [1, 2, [3, "x"]]},
    {"a": [{"b": 1, "c": 2}, {"b": 2}]},
    {"a": {"b": {"c": [None, False]}}, "d": ""},
    {"ключ": "日本 🙂", 'q"': "it's", "b": 0},
]
SHORT = [0, 1, 20, 999, 1_000]


def fill(conn: Connection) -> None:
    """Two projects, three flows, four versions, and runs of every kind."""
    first, second = projects.create(conn, "first"), projects.create(conn, "second")
    homes = [factory.make_flow(conn, first, "one"), factory.make_flow(conn, first, "two")]
    homes.append(PublishedFlow(first, homes[0].flow_id, factory.make_version(conn, first, homes[0].flow_id)))
    homes.append(factory.make_flow(conn, second, "one"))
    draw = random.Random(7)
    keys = [factory.uuid_at(OLDEST + number // 3 * 7 * MS, number) for number in range(COUNT)]
    for number, key in enumerate(keys):
        factory.make_run(conn, draw.choice(homes), id=key, **run(draw, key, keys[:number]))


def run(draw: random.Random, key: UUID, earlier: Sequence[UUID]) -> dict[str, Any]:
    status = draw.choice(list(RunStatus))
    relatives = [None, None, *earlier[:3]]
    return {
        "status": status,
        "environment": draw.choice(list(Environment)),
        "trigger_method": draw.choice(list(TriggerMethod)),
        "tags": draw.sample(TAGS, draw.choice([0, 1, 2, 5])),
        "metadata": orjson.dumps(draw.choice(METADATA)).decode(),
        "error_message": draw.choice(MESSAGES),
        "failed_step_name": draw.choice([None, "fetch", "Fetch", "store"]),
        "error_fingerprint": draw.choice([None, "00ff", "11ee"]),
        "external_id": draw.choice([None, "order-1", "order-2", ""]),
        "parent_run_id": draw.choice(relatives),
        "retry_of_id": draw.choice(relatives),
        "recovered_by_id": draw.choice(relatives),
        "archived_at": draw.choice([None, None, START]),
        **times(draw, status),
    }


def times(draw: random.Random, status: RunStatus) -> dict[str, Any]:
    """When it started, and when it ended; some runs end without a start."""
    started_at = None if status == "QUEUED" else START - draw.choice(SHORT) * MS - timedelta(microseconds=500)
    if status in UNSUCCESSFUL and draw.random() < 0.2:
        started_at = None
    if status not in FINAL:
        return {"started_at": started_at}
    took = draw.choice(SHORT)
    if started_at is None:
        return {"started_at": None, "finished_at": START, "duration_ms": None}
    return {"started_at": started_at, "finished_at": started_at + took * MS, "duration_ms": took}


def contains(document: Any, probe: Any) -> bool:
    if isinstance(probe, dict) and isinstance(document, dict):
        return all(key in document and contains(document[key], value) for key, value in probe.items())
    if isinstance(probe, list) and isinstance(document, list):
        return all(any(contains(each, value) for each in document) for value in probe)
    # As JSON spells them, 1 and true differ, and 1 and 1.0 are one number.
    one, other = (orjson.dumps(float(each) if type(each) is int else each) for each in (document, probe))
    return one == other


def folded(text: str) -> str:
    """Of ASCII alone: databases differ over other letters."""
    return "".join(each.lower() if each.isascii() else each for each in text)


def took(row: AnyRow) -> int | None:
    """Milliseconds, up to now if it goes on, as a client is told."""
    is_live = row.duration_ms is None and row.started_at is not None
    length: int | None = (START - row.started_at) // MS if is_live else row.duration_ms
    return length


def listed(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, values: getattr(row, column) in values


def same(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, value: getattr(row, column) == value


def after(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, value: getattr(row, column) is not None and getattr(row, column) > value


def before(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, value: getattr(row, column) is not None and getattr(row, column) < value


MEANINGS: dict[str, Callable[[AnyRow, Any], bool]] = {
    "project_ids": listed("project_id"),
    "ids": listed("id"),
    "flow_ids": listed("flow_id"),
    "flow_version_ids": listed("flow_version_id"),
    "statuses": listed("status"),
    "environments": listed("environment"),
    "trigger_methods": listed("trigger_method"),
    "external_ids": listed("external_id"),
    "tags": lambda row, tags: bool(tags) and set(tags) <= set(row.tags),
    "any_tags": lambda row, tags: bool(set(tags) & set(row.tags)),
    "failed_step_name": same("failed_step_name"),
    "error_fingerprint": same("error_fingerprint"),
    "error_contains": lambda row, part: row.error_message is not None and folded(part) in folded(row.error_message),
    "created_after": after("created_at"),
    "created_before": before("created_at"),
    "started_after": after("started_at"),
    "started_before": before("started_at"),
    "finished_after": after("finished_at"),
    "finished_before": before("finished_at"),
    "min_duration_ms": lambda row, least: (length := took(row)) is not None and length >= least,
    "max_duration_ms": lambda row, most: (length := took(row)) is not None and length <= most,
    "metadata": lambda row, probe: contains(orjson.loads(row.metadata), orjson.loads(probe)),
    "parent_run_id": same("parent_run_id"),
    "roots_only": lambda row, only: not only or row.parent_run_id is None,
    "retry_of_id": same("retry_of_id"),
    "unrecovered": lambda row, only: not only or (row.status in UNSUCCESSFUL and row.recovered_by_id is None),
    "archived": lambda row, how: how == "INCLUDE" or (row.archived_at is not None) is (how == "ONLY"),
}


def matches(wanted: RunFilter, row: AnyRow) -> bool:
    return all(MEANINGS[name](row, value) for name in MEANINGS if (value := getattr(wanted, name)) is not None)


def test_every_field_has_a_meaning_here() -> None:
    assert set(MEANINGS) == {field.name for field in fields(RunFilter)}


# What is asked for. Of IDs only the place is drawn: which ones there are is known in the test.

INSTANTS = [
    instant + offset
    for instant in (OLDEST, OLDEST + 350 * MS, START - 1_000 * MS, START - MS, START)
    for offset in (timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(microseconds=500))
]
DURATIONS = [-1, 0, 1, 2, 19, 20, 21, 998, 999, 1_000, 1_001, 2**53 - 1]
PROBES = [*METADATA, {"a": [2]}, {"a": []}, {"a": [[3]]}, {"a": [{"b": 2}]}, {"a": {"b": {}}}, {"b": False}, {"a": {}}]
PARTS = [
    "ünï",
    "ÜNÏ",
    "CODE",
    "STRASSE",
    "straße",
    "i",
    "k is",
    "",
    "TIMED",
    "t",
    "%",
    "_",
    "\\",
    "/",
    "'",
    '"',
    "0% w",
    "e_c",
    "日本",
    "🙂",
    "\n",
    "nowhere",
]
PLACES = st.lists(st.integers(0, 5), max_size=4)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("project_ids", "ids", "flow_ids", "flow_version_ids"), PLACES),
    "statuses": st.lists(st.sampled_from(RunStatus), max_size=4),
    "environments": st.lists(st.sampled_from(Environment), max_size=2),
    "trigger_methods": st.lists(st.sampled_from(TriggerMethod), max_size=3),
    "external_ids": st.lists(st.sampled_from(["order-1", "order-2", "", "order"]), max_size=3),
    "tags": st.lists(st.sampled_from([*TAGS, "re"]), max_size=2),
    "any_tags": st.lists(st.sampled_from([*TAGS, "re"]), max_size=3),
    "failed_step_name": st.sampled_from(["fetch", "store", "gone"]),
    "error_fingerprint": st.sampled_from(["00ff", "ffff"]),
    "error_contains": st.sampled_from(PARTS),
    **{
        f"{what}_{side}": st.sampled_from(INSTANTS)
        for what in ("created", "started", "finished")
        for side in ("after", "before")
    },
    "min_duration_ms": st.sampled_from(DURATIONS),
    "max_duration_ms": st.sampled_from(DURATIONS),
    "metadata": st.sampled_from(PROBES).map(lambda probe: orjson.dumps(probe).decode()),
    "parent_run_id": st.integers(0, 5),
    "roots_only": st.booleans(),
    "retry_of_id": st.integers(0, 5),
    "unrecovered": st.booleans(),
    "archived": st.sampled_from(Archived),
}
FILTERS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)
TYPICAL: dict[str, Any] = {
    "project_ids": [0],
    "flow_ids": [0],
    "flow_version_ids": [0],
    "ids": list(range(6)),
    "statuses": [RunStatus.FAILED, RunStatus.RUNNING, RunStatus.TIMEOUT, RunStatus.SUCCEEDED],
    "environments": [Environment.PRODUCTION],
    "trigger_methods": [TriggerMethod.API, TriggerMethod.RETRY],
    "external_ids": ["order-1", ""],
    "tags": ["red"],
    "any_tags": ["blue", "x y", "ä", "it's"],
    "failed_step_name": "fetch",
    "error_fingerprint": "00ff",
    "error_contains": "o",
    "created_after": OLDEST + 200 * MS,
    "created_before": OLDEST + 500 * MS,
    "started_after": START - 900 * MS,
    "started_before": START - 10 * MS,
    "finished_after": START - 900 * MS,
    "finished_before": START + 10 * MS,
    "min_duration_ms": 20,
    "max_duration_ms": 999,
    "metadata": '{"a":1}',
    "parent_run_id": 0,
    "roots_only": True,
    "retry_of_id": 0,
    "unrecovered": True,
    "archived": Archived.ONLY,
}


def all_rows(conn: Connection) -> Sequence[AnyRow]:
    runs_table = table(FlowRun)
    return conn.execute(select(runs_table).order_by(runs_table.c.id)).all()


def with_keys(values: Mapping[str, Any], rows: Sequence[AnyRow]) -> RunFilter:
    """The filter in which IDs stand for their places; the last place is that of one which nothing has."""
    columns = {"project_ids": "project_id", "ids": "id", "flow_ids": "flow_id", "flow_version_ids": "flow_version_id"}
    found: dict[str, Any] = {}
    for name, value in values.items():
        known = sorted({getattr(row, columns.get(name, "id")) for row in rows})[:5]
        keys = [*known, *[UNKNOWN] * (6 - len(known))]
        if name in columns:
            found[name] = [keys[place] for place in value]
        else:
            found[name] = keys[value] if name in ("parent_run_id", "retry_of_id") else value
    return RunFilter(**found)


def meant(conn: Connection, wanted: RunFilter) -> list[UUID]:
    return [row.id for row in run_reads.page(conn, (), wanted, RunOrder(), Page(COUNT + 1))]


def expected(rows: Sequence[AnyRow], wanted: RunFilter) -> list[UUID]:
    return [row.id for row in reversed(rows) if matches(wanted, row)]


def meant_in_memory(rows: Sequence[AnyRow], wanted: RunFilter) -> list[UUID]:
    """By the predicate with which subscribers are told."""
    compiled = CompiledFilter(wanted)
    return [row.id for row in reversed(rows) if compiled.matches(now(row))]


def check(conn: Connection, rows: Sequence[AnyRow], filters: Sequence[Mapping[str, Any]]) -> list[int]:
    """Compares each of `filters` with what it means among `rows`, all there are; how many each means."""
    sizes = []
    for values in filters:
        wanted = with_keys(values, rows)
        found = meant(conn, wanted)
        assert found == expected(rows, wanted), wanted
        assert found == meant_in_memory(rows, wanted), wanted
        sizes.append(len(found))
    return sizes


@pytest.fixture
async def rows(filled: Database) -> Sequence[AnyRow]:
    return await filled.read(all_rows)


async def test_a_field_alone_means_what_it_says(filled: Database, rows: Sequence[AnyRow]) -> None:
    sizes = await filled.read(check, rows, [{name: value} for name, value in TYPICAL.items()])
    # Else it would be compared on nothing, or on what the filter does not narrow.
    assert all(0 < size < COUNT for size in sizes), dict(zip(TYPICAL, sizes, strict=True))


async def test_any_two_fields_mean_what_both_say(filled: Database, rows: Sequence[AnyRow]) -> None:
    pairs = itertools.combinations(TYPICAL.items(), 2)
    sizes = await filled.read(check, rows, [{"archived": Archived.INCLUDE, **dict(pair)} for pair in pairs])
    # Else most pairs would be compared on nothing.
    assert sum(size > 0 for size in sizes) > len(sizes) * 0.7


def counted(conn: Connection, filters: Sequence[RunFilter]) -> list[int]:
    return [run_reads.count(conn, wanted, None) for wanted in filters]


async def test_what_is_meant_can_be_counted(filled: Database, rows: Sequence[AnyRow]) -> None:
    filters = [with_keys({name: value}, rows) for name, value in TYPICAL.items()]
    assert await filled.read(counted, filters) == [len(expected(rows, wanted)) for wanted in filters]


async def test_nothing_asked_means_all_that_is_not_archived(filled: Database, rows: Sequence[AnyRow]) -> None:
    (size,) = await filled.read(check, rows, [{}])
    assert 0 < size < COUNT


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(FILTERS, min_size=5, max_size=5))
async def test_any_filter_means_what_it_says(
    filled: Database, rows: Sequence[AnyRow], filters: list[dict[str, Any]]
) -> None:
    await filled.read(check, rows, filters)


LISTS = ("project_ids", "ids", "flow_ids", "flow_version_ids", "statuses", "environments", "trigger_methods")


async def test_an_empty_list_means_nothing(filled: Database, rows: Sequence[AnyRow]) -> None:
    names = (*LISTS, "external_ids", "tags", "any_tags")
    assert await filled.read(check, rows, [{"archived": Archived.INCLUDE, name: []} for name in names]) == [0] * len(
        names
    )


async def test_lists_are_as_long_as_clients_may_make_them(filled: Database, rows: Sequence[AnyRow]) -> None:
    many = [factory.uuid_at(OLDEST, number) for number in range(1_000)]
    words = [f"tag {number}" for number in range(999)]
    wanted = RunFilter(ids=many, flow_ids=many, any_tags=[*words, "red"], external_ids=words, archived=Archived.INCLUDE)
    assert await filled.read(meant, wanted) == []
    tagged = RunFilter(any_tags=[*words, "red"], archived=Archived.INCLUDE)
    assert await filled.read(meant, tagged) == expected(rows, tagged)


async def test_a_tag_asked_for_twice_is_one(filled: Database, rows: Sequence[AnyRow]) -> None:
    once, twice = await filled.read(check, rows, [{"tags": ["red"]}, {"tags": ["red", "red"]}])
    assert once == twice > 0


def wildcards(conn: Connection, rows: Sequence[AnyRow]) -> dict[str, list[str | None]]:
    messages = {row.id: row.error_message for row in rows}
    found = {}
    for part in ("%", "_", "\\", "/", "0% W", "E_C"):
        wanted = RunFilter(error_contains=part, archived=Archived.INCLUDE)
        found[part] = sorted({messages[key] for key in meant(conn, wanted)}, key=str)
    return found


async def test_wildcards_of_like_are_plain_characters(filled: Database, rows: Sequence[AnyRow]) -> None:
    assert await filled.read(wildcards, rows) == {
        "%": ["100% wrong"],
        "_": ["snake_case"],
        "\\": ["back\\slash"],
        "/": ["for/ward"],
        "0% W": ["100% wrong"],
        "E_C": ["snake_case"],
    }


async def test_bounds_of_time_are_exclusive(filled: Database, rows: Sequence[AnyRow]) -> None:
    # Three runs to each millisecond that has any.
    instant = OLDEST + 7 * MS
    bounds: list[dict[str, Any]] = [
        {"created_after": instant - MS, "created_before": instant + MS},
        {"created_before": instant},
        {"created_after": instant},
    ]
    sizes = await filled.read(check, rows, [{"archived": Archived.INCLUDE, **each} for each in bounds])
    assert sizes == [3, 3, COUNT - 6]


async def test_counting_stops_at_the_limit(filled: Database) -> None:
    everything = RunFilter(archived=Archived.INCLUDE)
    for limit, count in [(0, 0), (1, 1), (COUNT - 1, COUNT - 1), (COUNT, COUNT), (COUNT + 1, COUNT), (None, COUNT)]:
        assert await filled.read(run_reads.count, everything, limit) == count


async def test_the_ends_of_time_are_bounds_like_others(filled: Database, rows: Sequence[AnyRow]) -> None:
    names = [f"{what}_{side}" for what in ("created", "started", "finished") for side in ("after", "before")]
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    sizes = await filled.read(check, rows, [{name: end} for name in names for end in ends])
    assert set(sizes) > {0}
