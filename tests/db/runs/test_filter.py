"""Each filter matches the same rows in SQL, in memory and by a reference with one line of Python for each field."""

import itertools
import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
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
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs import reads as run_reads
from db.runs.filter import _CONDITIONS
from db.search import switch
from db.sql.keyset import Page
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import Environment, RunStatus, TriggerMethod, WaitKind
from domain.ids import IdKind
from domain.runs.filter_field import Archived, Operator, ValueType
from domain.runs.metadata_condition import MetadataCondition
from domain.runs.run_filter import FILTER_FIELDS, RunFilter, RunOrder
from domain.runs.state_machine import FINAL, LIVE, UNSUCCESSFUL
from live.matching import snapshot_now
from live.predicates import _PREDICATES, CompiledFilter
from tests.db.runs.filter_values import (
    COUNT,
    FILTERS,
    MESSAGES,
    METADATA,
    MS,
    OLDEST,
    PERIODS,
    SCHEDULES,
    SHORT,
    TAGS,
    UNKNOWN,
    WEBHOOKS,
    Snapshots,
    queue,
    with_texts,
)
from tests.db.runs.metadata_reference import contains, meets
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import PublishedFlow


def fill(uow: UnitOfWork) -> None:
    """Two projects, three flows, four versions, and runs of every kind."""
    switch.switch_on(uow)
    first, second = projects.create(uow, "first"), projects.create(uow, "second")
    homes = [factory.make_flow(uow, first, "one"), factory.make_flow(uow, first, "two")]
    homes.append(PublishedFlow(first, homes[0].flow_id, factory.make_version(uow, first, homes[0].flow_id)))
    homes.append(factory.make_flow(uow, second, "one"))
    draw = random.Random(7)
    keys = [factory.uuid_at(OLDEST + number // 3 * 7 * MS, number) for number in range(COUNT)]
    for number, key in enumerate(keys):
        home, values = draw.choice(homes), run(draw, key, keys[:number])
        # A hold keeps runs from their start alone; a limit also those that go on after a pause.
        if values.get("blocked_by") and (number % 2 or values["status"] != RunStatus.QUEUED):
            values["blocked_by"] = home.flow_id
        factory.make_run(uow, home, id=key, **values)


def run(draw: random.Random, key: UUID, earlier: Sequence[UUID]) -> dict[str, Any]:
    status = draw.choice(list(RunStatus))
    changed = draw.choice(SHORT) * MS
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
        "source": draw.choice([None, "cron", *SCHEDULES[:2], *WEBHOOKS[:2]]),
        **family(draw, key, relatives),
        "retry_of_id": draw.choice(relatives),
        "rerun_of_id": draw.choice(relatives),
        "recovered_by_id": draw.choice(relatives),
        "archived_at": draw.choice([None, None, START]),
        "updated_at": START - changed,
        **times(draw, key, status),
        **queue(random.Random(key.int), status),
        "input": orjson.dumps(random.Random(key.int + 1).choice(MESSAGES)).decode(),
    }


def waited_for(row: AnyRow) -> str | None:
    if row.status not in LIVE:
        return None
    if row.blocked_by:
        return "SLOT" if row.blocked_by == row.flow_id else "RELEASE"
    if row.due_at and row.due_at <= START:
        return "WORKER"
    if row.status == "RUNNING":
        return None if row.lease_token else "RETRY"
    return "TIME" if row.status == "QUEUED" else row.waits_for or "TIME"


def family(draw: random.Random, key: UUID, relatives: Sequence[UUID | None]) -> dict[str, Any]:
    """Its parent, and the topmost ancestor: the first runs have no parent."""
    parent = draw.choice(relatives)
    return {"parent_run_id": parent, "root_run_id": key if parent is None else draw.choice(relatives[2:])}


def times(draw: random.Random, key: UUID, status: RunStatus) -> dict[str, Any]:
    """When it started, and when it ended; some runs end without a start."""
    started_at = None if status == "QUEUED" else START - draw.choice(SHORT) * MS - timedelta(microseconds=500)
    if started_at is not None:
        started_at = max(started_at, ids.created_at(key))  # no run starts before it is created
    if status in UNSUCCESSFUL and draw.random() < 0.2:
        started_at = None
    if status not in FINAL:
        return {"started_at": started_at}
    took = draw.choice(SHORT)
    if started_at is None:
        return {"started_at": None, "finished_at": START, "duration_ms": None}
    return {"started_at": started_at, "finished_at": started_at + took * MS, "duration_ms": took}


def without_case(text: str) -> str:
    """Unicode's canonical form of a text without regard to case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def duration_ms(row: AnyRow) -> int | None:
    """The duration in milliseconds; of a run that has not ended, until now."""
    is_live = row.duration_ms is None and row.started_at is not None
    length: int | None = (START - row.started_at) // MS if is_live else row.duration_ms
    return length


def listed(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, values: getattr(row, column) in values


def same(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, value: getattr(row, column) == value


def after(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, value: getattr(row, column) is not None and getattr(row, column) >= value


def before(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, value: getattr(row, column) is not None and getattr(row, column) < value


"""Durations, and how long they are before the present instant of the tests; a longer one than a month is a month."""


def within(column: str) -> Callable[[AnyRow, Any], bool]:
    return lambda row, period: getattr(row, column) is not None and getattr(row, column) >= START - PERIODS[period]


REFERENCE: dict[str, Callable[[AnyRow, Any], bool]] = {
    "project_ids": listed("project_id"),
    "ids": listed("id"),
    "flow_ids": listed("flow_id"),
    "flow_version_ids": listed("flow_version_id"),
    "statuses": listed("status"),
    "waiting_for": lambda row, kinds: waited_for(row) in kinds,
    "environments": listed("environment"),
    "trigger_methods": listed("trigger_method"),
    "external_ids": listed("external_id"),
    "sources": listed("source"),
    "schedule_ids": listed("source"),
    "webhook_ids": listed("source"),
    "tags": lambda row, tags: bool(tags) and set(tags) <= set(row.tags),
    "any_tags": lambda row, tags: bool(set(tags) & set(row.tags)),
    "failed_step_name": same("failed_step_name"),
    "error_fingerprint": same("error_fingerprint"),
    "search": lambda row, part: (text := orjson.loads(row.input)) and without_case(part) in without_case(f'"{text}"'),
    "error_contains": lambda row, part: (
        row.error_message is not None and without_case(part) in without_case(row.error_message)
    ),
    "created_after": after("created_at"),
    "created_before": before("created_at"),
    "started_after": after("started_at"),
    "started_before": before("started_at"),
    "finished_after": after("finished_at"),
    "finished_before": before("finished_at"),
    "updated_after": after("updated_at"),
    "updated_before": before("updated_at"),
    **{f"{name}_within": within(f"{name}_at") for name in ("created", "started", "finished", "updated")},
    "min_duration_ms": lambda row, least: (length := duration_ms(row)) is not None and length >= least,
    "max_duration_ms": lambda row, most: (length := duration_ms(row)) is not None and length <= most,
    "metadata": lambda row, probe: contains(orjson.loads(row.metadata), orjson.loads(probe)),
    "metadata_conditions": lambda row, conditions: (
        conditions != () and all(meets(condition, orjson.loads(row.metadata)) for condition in conditions)
    ),
    "parent_run_id": same("parent_run_id"),
    "root_run_id": same("root_run_id"),
    "roots_only": lambda row, only: not only or row.parent_run_id is None,
    "retry_of_id": same("retry_of_id"),
    "rerun_of_id": same("rerun_of_id"),
    "unrecovered": lambda row, only: not only or (row.status in UNSUCCESSFUL and row.recovered_by_id is None),
    "archived": lambda row, how: how == "INCLUDE" or (row.archived_at is not None) is (how == "ONLY"),
    "not_": lambda row, where: not matching(where, [row]),
    "or_": lambda row, parts: any(matching(part, [row]) for part in parts),
}


def restrictions(where: RunFilter) -> list[tuple[str, Any]]:
    """The fields that a filter names, with their values."""
    named = ((name, getattr(where, name)) for name in REFERENCE)
    return [(name, value) for name, value in named if value is not None and not is_blank(name, value)]


def is_blank(name: str, value: Any) -> bool:
    """The rule of blank values, written again: empty texts, empty objects, 0 as a lower bound, and filters of these."""
    if name == "not_":
        return is_everything(value) or is_nothing(value)
    if name == "or_":
        return any(is_everything(part) for part in value)
    if name == "metadata_conditions":
        return value != () and all(set(comparisons_of(condition)) == {"path"} for condition in value)
    return (name, value) == ("min_duration_ms", 0) or value in ("", "{}")


def comparisons_of(condition: MetadataCondition) -> dict[str, Any]:
    return {name: value for name, value in asdict(condition).items() if value not in (None, "")}


def is_everything(where: RunFilter) -> bool:
    named = {name: getattr(where, name) for name in REFERENCE}
    unset = (None, False, Archived.INCLUDE)
    return all(value in unset or is_blank(name, value) for name, value in named.items())


def is_nothing(where: RunFilter) -> bool:
    """True if a list is empty that a run would have to have an element of."""
    if any(getattr(where, name) == () for name in REFERENCE):
        return True
    if where.or_ is not None and not is_blank("or_", where.or_):
        return all(is_nothing(part) for part in where.or_)
    return any(condition.one_of == () for condition in where.metadata_conditions or ())


def test_every_field_is_declared_and_tested_here() -> None:
    assert set(REFERENCE) == set(FILTER_FIELDS) == {field.name for field in fields(RunFilter)}


def test_every_operator_is_implemented_in_sql_and_in_memory() -> None:
    assert set(_CONDITIONS) == set(_PREDICATES) == set(Operator) == {field.operator for field in FILTER_FIELDS.values()}


def test_declared_columns_exist() -> None:
    assert {column for field in FILTER_FIELDS.values() for column in field.columns} <= set(table(FlowRun).c.keys())


def test_filters_with_equal_values_have_equal_hashes() -> None:
    for name, field in FILTER_FIELDS.items():
        if field.is_list:
            lists: list[dict[str, Any]] = [{name: ["x"]}, {name: ("x",)}]
            one, other = (RunFilter(**values) for values in lists)
            assert one == other
            assert hash(one) == hash(other)


TYPICAL: dict[str, Any] = {
    "project_ids": [0],
    "flow_ids": [0],
    "flow_version_ids": [0],
    "ids": list(range(6)),
    "statuses": [RunStatus.FAILED, RunStatus.RUNNING, RunStatus.TIMEOUT, RunStatus.SUCCEEDED],
    "waiting_for": [WaitKind.PERSON, WaitKind.WORKER],
    "environments": [Environment.PRODUCTION],
    "trigger_methods": [TriggerMethod.API, TriggerMethod.RETRY],
    "external_ids": ["order-1", ""],
    "sources": ["cron", SCHEDULES[1]],
    "schedule_ids": [SCHEDULES[0]],
    "webhook_ids": WEBHOOKS,
    "tags": ["red"],
    "any_tags": ["blue", "x y", "ä", "it's"],
    "failed_step_name": "fetch",
    "error_fingerprint": "00ff",
    "error_contains": "o",
    "search": "ÜNÏ",
    "created_after": OLDEST + 200 * MS,
    "created_before": OLDEST + 500 * MS,
    "started_after": START - 900 * MS,
    "started_before": START - 10 * MS,
    "finished_after": START - 900 * MS,
    "finished_before": START + 10 * MS,
    "updated_after": START - 20 * MS,
    "updated_before": START - 20 * MS,
    "created_within": "PT59.7S",
    "started_within": "PT0.02S",
    "finished_within": "PT1S",
    "updated_within": "PT0.02S",
    "min_duration_ms": 20,
    "max_duration_ms": 999,
    "metadata": '{"a":1}',
    "metadata_conditions": [MetadataCondition(path=("a",), at_least=1, less_than=1.5)],
    "parent_run_id": 0,
    "root_run_id": 0,
    "roots_only": True,
    "retry_of_id": 0,
    "rerun_of_id": 0,
    "unrecovered": True,
    "archived": Archived.ONLY,
    "not_": {"failed_step_name": "fetch"},
    "or_": [{"failed_step_name": "store"}, {"not_": {"started_after": START - 10 * MS}}],
}


def all_rows(conn: Connection) -> Sequence[AnyRow]:
    runs_table = table(FlowRun)
    return conn.execute(select(runs_table).order_by(runs_table.c.id)).all()


def with_keys(
    values: Mapping[str, Any], rows: Sequence[AnyRow], make: Callable[..., RunFilter] = RunFilter
) -> RunFilter:
    """The filter with numbers replaced by IDs of the rows; the last numbers by an ID that no row has."""
    replaced: dict[str, Any] = {}
    for name, value in values.items():
        field = FILTER_FIELDS[name]
        if field.value_type is ValueType.FILTER:
            parts = [with_keys(part, rows, RunFilter.part) for part in (value if field.is_list else [value])]
            replaced[name] = parts if field.is_list else parts[0]
            continue
        if field.is_text or not isinstance(field.value_type, IdKind):
            replaced[name] = value
            continue
        column = "id" if field.value_type is IdKind.RUN else field.column
        known = sorted({getattr(row, column) for row in rows})[:5]
        keys = [*known, *[UNKNOWN] * (6 - len(known))]
        replaced[name] = [keys[number] for number in value] if field.is_list else keys[value]
    return make(**replaced)


def ids_in_sql(conn: Connection, where: RunFilter) -> list[UUID]:
    return [row.id for row in run_reads.page(conn, (), where, RunOrder(), Page(COUNT + 1))]


def matching(where: RunFilter, rows: Sequence[AnyRow]) -> list[AnyRow]:
    named = restrictions(where)
    return [row for row in rows if all(REFERENCE[name](row, value) for name, value in named)]


def ids_by_reference(rows: Sequence[AnyRow], where: RunFilter) -> list[UUID]:
    return [row.id for row in matching(where, rows)][::-1]


def ids_in_memory(runs: Snapshots, where: RunFilter) -> list[UUID]:
    compiled = CompiledFilter(where)
    return [run_id for run_id, snapshot in reversed(runs) if compiled.matches(snapshot)]


def check(conn: Connection, rows: Sequence[AnyRow], filters: Sequence[Mapping[str, Any]]) -> list[int]:
    """Asserts that SQL, predicates and reference match the same rows; returns the number that each filter matches."""
    sizes = []
    runs = [(row.id, snapshot_now(row)) for row in rows]
    for values in filters:
        where = with_keys(values, rows)
        matched = ids_in_sql(conn, where)
        assert matched == ids_by_reference(rows, where), where
        assert matched == ids_in_memory(with_texts(conn, runs, where), where), where
        sizes.append(len(matched))
    return sizes


@pytest.fixture
async def rows(filled: Database) -> Sequence[AnyRow]:
    return await filled.read(all_rows)


async def test_each_field_matches_as_its_reference(filled: Database, rows: Sequence[AnyRow]) -> None:
    assert set(TYPICAL) == set(FILTER_FIELDS)
    sizes = await filled.read(check, rows, [{name: value} for name, value in TYPICAL.items()])
    # Otherwise the comparison would be trivial: nothing matches, or the field restricts nothing.
    assert all(0 < size < COUNT for size in sizes), dict(zip(TYPICAL, sizes, strict=True))


async def test_two_fields_match_as_their_references(filled: Database, rows: Sequence[AnyRow]) -> None:
    pairs = [{"archived": Archived.INCLUDE, **dict(pair)} for pair in itertools.combinations(TYPICAL.items(), 2)]
    # A read has a time limit, which all pairs together reach on a busy machine.
    sizes = []
    for start in range(0, len(pairs), 20):
        sizes += await filled.read(check, rows, pairs[start : start + 20])
    # Otherwise most comparisons would be trivial.
    assert sum(size > 0 for size in sizes) > len(sizes) * 0.7


def counted(conn: Connection, filters: Sequence[RunFilter]) -> list[int]:
    return [run_reads.count(conn, where, None) for where in filters]


async def test_count_equals_number_of_matching_rows(filled: Database, rows: Sequence[AnyRow]) -> None:
    filters = [with_keys({name: value}, rows) for name, value in TYPICAL.items()]
    assert await filled.read(counted, filters) == [len(ids_by_reference(rows, where)) for where in filters]


async def test_default_filter_matches_all_that_is_not_archived(filled: Database, rows: Sequence[AnyRow]) -> None:
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
async def test_random_filters_match_as_their_references(
    filled: Database, rows: Sequence[AnyRow], filters: list[dict[str, Any]]
) -> None:
    await filled.read(check, rows, filters)


async def test_empty_list_matches_nothing(filled: Database, rows: Sequence[AnyRow]) -> None:
    names = [name for name, field in FILTER_FIELDS.items() if field.is_list]
    assert await filled.read(check, rows, [{"archived": Archived.INCLUDE, name: []} for name in names]) == [0] * len(
        names
    )


async def test_lists_of_a_thousand_values_match(filled: Database, rows: Sequence[AnyRow]) -> None:
    many = [factory.uuid_at(OLDEST, number) for number in range(1_000)]
    words = [f"tag {number}" for number in range(999)]
    where = RunFilter(ids=many, flow_ids=many, any_tags=[*words, "red"], external_ids=words, archived=Archived.INCLUDE)
    assert await filled.read(ids_in_sql, where) == []
    tagged = RunFilter(any_tags=[*words, "red"], archived=Archived.INCLUDE)
    assert await filled.read(ids_in_sql, tagged) == ids_by_reference(rows, tagged)


async def test_repeated_tag_counts_once(filled: Database, rows: Sequence[AnyRow]) -> None:
    once, twice = await filled.read(check, rows, [{"tags": ["red"]}, {"tags": ["red", "red"]}])
    assert once == twice > 0


def wildcards(conn: Connection, rows: Sequence[AnyRow]) -> dict[str, list[str | None]]:
    messages = {row.id: row.error_message for row in rows}
    found = {}
    for part in ("%", "_", "\\", "/", "0% W", "E_C"):
        where = RunFilter(error_contains=part, archived=Archived.INCLUDE)
        found[part] = sorted({messages[key] for key in ids_in_sql(conn, where)}, key=str)
    return found


async def test_like_wildcards_match_literally(filled: Database, rows: Sequence[AnyRow]) -> None:
    assert await filled.read(wildcards, rows) == {
        "%": ["100% wrong"],
        "_": ["snake_case"],
        "\\": ["back\\slash"],
        "/": ["for/ward"],
        "0% W": ["100% wrong"],
        "E_C": ["snake_case"],
    }


async def test_ranges_of_time_include_their_start_and_not_their_end(filled: Database, rows: Sequence[AnyRow]) -> None:
    # Three runs to each millisecond that has any.
    instant = OLDEST + 7 * MS
    bounds: list[dict[str, Any]] = [
        {"created_after": instant, "created_before": instant + MS},
        {"created_before": instant},
        {"created_after": instant},
    ]
    sizes = await filled.read(check, rows, [{"archived": Archived.INCLUDE, **each} for each in bounds])
    assert sizes == [3, 3, COUNT - 3]


async def test_counting_stops_at_the_limit(filled: Database) -> None:
    everything = RunFilter(archived=Archived.INCLUDE)
    for limit, count in [(0, 0), (1, 1), (COUNT - 1, COUNT - 1), (COUNT, COUNT), (COUNT + 1, COUNT), (None, COUNT)]:
        assert await filled.read(run_reads.count, everything, limit) == count


async def test_ends_of_the_calendar_are_valid_bounds(filled: Database, rows: Sequence[AnyRow]) -> None:
    names = [f"{what}_{side}" for what in ("created", "started", "finished") for side in ("after", "before")]
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    sizes = await filled.read(check, rows, [{name: end} for name in names for end in ends])
    assert set(sizes) > {0}
