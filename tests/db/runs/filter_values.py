"""Values of runs for comparisons by filters, and random filters with such values."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from hypothesis import strategies as st
from sqlalchemy import Connection

from db.models import FlowRun
from db.models.types import table
from db.runs import reads as run_reads
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.filter_field import FilterField, ValueType
from domain.runs.metadata_condition import COMPARISONS, MetadataCondition
from domain.runs.run_filter import FILTER_FIELDS, MIN_SEARCH, RunFilter
from domain.runs.state_machine import FINAL
from domain.text import fold
from live.matching import RunSnapshot, snapshot_now
from tests.support import factory
from tests.support.clock import START

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
    {"a": {"b": 2}, "": {"": 1e15}},
    {"a": {"b": "1.5"}, "x.y": "a%b"},
    {"a": {"b": [5], "1": -0.1}, "0": 3},
]
SCHEDULES = [ids.encode(IdKind.SCHEDULE, factory.uuid_at(START, number)) for number in range(3)]
WEBHOOKS = [ids.encode(IdKind.WEBHOOK, factory.uuid_at(START, number)) for number in range(3)]
SHORT = [0, 1, 20, 999, 1_000]
PERIODS = {"PT1S": 1_000 * MS, "PT0.02S": 20 * MS, "PT0S": timedelta(0), "PT59.7S": 59_700 * MS, "P1M": timedelta(31)}
Snapshots = Sequence[tuple[UUID, RunSnapshot]]

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
TEXTS: dict[str, list[str]] = {
    "tags": [*TAGS, "re"],
    "external_id": ["order-1", "order-2", "", "order"],
    "failed_step_name": ["fetch", "store", "gone"],
    "error_fingerprint": ["00ff", "ffff"],
    "error_message": PARTS,
    "source": ["cron", *SCHEDULES, *WEBHOOKS],
}
"""Texts to look for in each column."""
JSON_SCALARS = st.sampled_from(["1", "1.0", "true", "false", '"1"', '"1.5"', "2", "0", '""', '"it\'s"', "-0.1", "3"])
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    # The IDs are known only in the test: until then a number stands for each.
    **dict.fromkeys(IdKind, st.integers(0, 5)),
    ValueType.SEARCHED_TEXT: st.sampled_from([part for part in PARTS if not part or len(fold(part)) >= MIN_SEARCH]),
    ValueType.INSTANT: st.sampled_from(INSTANTS),
    ValueType.MILLISECONDS: st.sampled_from(DURATIONS),
    ValueType.FLAG: st.booleans(),
    ValueType.DURATION: st.sampled_from(["", *PERIODS]),
    ValueType.JSON_OBJECT: st.sampled_from(PROBES).map(lambda probe: orjson.dumps(probe).decode()),
    ValueType.METADATA_CONDITION: st.builds(
        MetadataCondition,
        path=st.sampled_from([("a",), ("a", "b"), ("a", "1"), ("a", "b", "c"), ("0",), ("", ""), ("x.y",), ("gone",)]),
        exists=st.sampled_from([None, None, None, True, False]),
        equals=st.none() | st.none() | JSON_SCALARS,
        one_of=st.none() | st.none() | st.lists(JSON_SCALARS, max_size=3).map(tuple),
        prefix=st.sampled_from([None, None, None, "", "1", "a%", "it's"]),
        **{name: st.sampled_from([None, None, None, 0.0, 1.0, 1.5, 2.0, -0.1, 1e15]) for name in COMPARISONS},
    ),
}


def values_of(field: FilterField) -> st.SearchStrategy[Any]:
    if field.value_type is ValueType.FILTER:
        part = st.deferred(lambda: PARTS_OF_FILTERS)
        return st.lists(part, max_size=3) if field.is_list else part
    if field.is_text:
        return st.lists(st.sampled_from(TEXTS[field.column]), max_size=4)
    if field.value_type is ValueType.TEXT:
        scalars: st.SearchStrategy[Any] = st.sampled_from(TEXTS[field.column])
    elif (known := SCALARS.get(field.value_type)) is not None:
        scalars = known
    else:
        assert isinstance(field.value_type, type)
        scalars = st.sampled_from(field.value_type)
    return st.lists(scalars, max_size=4) if field.is_list else scalars


VALUES = {name: values_of(field) for name, field in FILTER_FIELDS.items()}
LEAVES = sorted(name for name, field in FILTER_FIELDS.items() if field.value_type is not ValueType.FILTER)


def some_of(names: st.SearchStrategy[list[str]]) -> st.SearchStrategy[dict[str, Any]]:
    return names.flatmap(lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names}))


PARTS_OF_FILTERS = st.recursive(
    some_of(st.lists(st.sampled_from(LEAVES), max_size=3, unique=True)),
    lambda part: (
        st.fixed_dictionaries({"not_": part})
        | st.fixed_dictionaries({"or_": st.lists(part, max_size=3)})
        | st.builds(lambda one, other: {**one, "not_": other}, part, part)
    ),
    max_leaves=5,
)
"""Filters within filters."""
FILTERS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


def queue(draw: random.Random, status: RunStatus) -> dict[str, Any]:
    """The state of a live run: due, due later, held, or claimed by a worker."""
    if status in FINAL:
        return {"due_at": None}
    return {
        "due_at": draw.choice([None, START - MS, START + timedelta(hours=1)]),
        "blocked_by": draw.choice([None, None, None, UNKNOWN]) if status != RunStatus.RUNNING else None,
        "waits_for": draw.choice([None, "PERSON", "TIME", "CHILDREN"]),
        "lease_token": draw.choice([None, UNKNOWN]) if status == RunStatus.RUNNING else None,
    }


def with_texts(conn: Connection, runs: Snapshots, where: RunFilter) -> Snapshots:
    """The runs, with what the filter searches for."""
    if not where.searched:
        return runs
    found = run_reads.by_ids(conn, [run_id for run_id, _ in runs], table(FlowRun).c.keys(), where.searched)
    return [(run_id, snapshot_now(found[run_id])) for run_id, _ in runs]
