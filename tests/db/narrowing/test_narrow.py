"""Reads that are narrowed by an index first: their results, and their plans on both databases."""

import random
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Connection, insert, select, text, update

from db import projects
from db.core import terms
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.narrowing import narrow
from db.narrowing.candidates import FEW
from db.runs import reads
from db.runs.filter import matches
from db.sql.keyset import Edge, Page, Position, sort_value
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.filter_field import Archived
from domain.runs.metadata_condition import MetadataCondition
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from domain.text import fold_column
from tests.db.test_plans import SECOND, plans_of
from tests.support import factory
from tests.support.clock import START

COUNT = 3_000
PROJECTS = 3
RARE = "connection 4711 reset by Gäste"


def key_of(number: int) -> UUID:
    return factory.uuid_at(START - (COUNT - number) * SECOND)


def key_time(number: int) -> datetime:
    return START - (COUNT - number) * SECOND


def fill(uow: UnitOfWork) -> None:
    """Three projects; each value is in the runs of one of them, of two, or of all."""
    flows = [factory.make_project_with_flow(uow, name=f"project {number}") for number in range(PROJECTS)]
    draw = random.Random(1)
    uow.conn.execute(insert(table(FlowRun)), [_run(number, flows[number % PROJECTS], draw) for number in range(COUNT)])


def _run(number: int, flow: Any, draw: random.Random) -> dict[str, Any]:
    created = START - (COUNT - number) * SECOND
    is_failed = number % 5 == 0
    message = (RARE if number % 700 == 0 else f"The request answered {number % 7}") if is_failed else None
    took = draw.randrange(100_000)
    values: dict[str, Any] = dict.fromkeys(each.name for each in table(FlowRun).c if each.server_default is None)
    return values | {
        "id": key_of(number),
        "root_run_id": key_of(number),
        "project_id": flow.project_id,
        "flow_id": flow.flow_id,
        "flow_version_id": flow.version_id,
        "status": RunStatus.FAILED if is_failed else RunStatus.SUCCEEDED,
        "environment": "PRODUCTION",
        "trigger_method": TriggerMethod.SCHEDULE if number % 900 == 1 else TriggerMethod.API,
        "created_at": created,
        "updated_at": created,
        "started_at": created + SECOND,
        "finished_at": created + 2 * SECOND,
        "archived_at": created + 3 * SECOND if number % 400 == 3 else None,
        "duration_ms": took,
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "failed_step_name": "store" if is_failed else None,
        "error_message": message,
        "error_folded": fold_column(message),
        "error_fingerprint": f"{number % 7:016x}" if is_failed else None,
        "external_id": f"order {number}" if number % 50 == 0 else None,
        "tags": [f"team {number % 4}", f"build {number // 100}"],
        "metadata": orjson.dumps(
            {"customer": {"id": number % 500, "codes": [number % 9]}, "name": f'Gäste "{number % 70}'}
        ).decode(),
        "input": "{}",
    }


def metadata(number: int) -> str:
    customer = {"id": number % 500, "codes": [number % 9]}
    return orjson.dumps({"customer": customer, "name": f'Gäste "{number % 70}'}).decode()


def condition(**values: Any) -> MetadataCondition:
    return MetadataCondition(path=("customer", "id"), **values)


FILTERS: dict[str, dict[str, Any]] = {
    "rare error": {"error_contains": "4711 RESET by GÄSTE"},
    "absent error": {"error_contains": "nowhere"},
    "common error": {"error_contains": "answered"},
    "short error": {"error_contains": "71"},
    "rare error of one trigger": {"error_contains": "4711", "trigger_methods": [TriggerMethod.API]},
    "rare tag": {"tags": ["build 3"]},
    "rare and common tag": {"tags": ["team 1", "build 3"]},
    "unknown tags": {"any_tags": ["none", "nothing"]},
    "tags, one of them unknown": {"any_tags": ["none", "build 3"]},
    "common tag": {"tags": ["team 1"]},
    "no tags": {"tags": []},
    "nested metadata": {"metadata": '{"customer": {"id": 7}}'},
    "metadata in a list": {"metadata": '{"customer": {"codes": [3.0]}}'},
    "metadata without values": {"metadata": '{"customer": {}}'},
    "unknown metadata": {"metadata": '{"customer": {"id": "7"}}'},
    "rare trigger": {"trigger_methods": [TriggerMethod.SCHEDULE]},
    "absent trigger": {"trigger_methods": [TriggerMethod.RETRY, TriggerMethod.WEBHOOK]},
    "absent status": {"statuses": [RunStatus.QUEUED]},
    "all but the usual statuses": {"not_": RunFilter.part(statuses=[RunStatus.SUCCEEDED, RunStatus.FAILED])},
    "all but one status": {"not_": RunFilter.part(statuses=[RunStatus.SUCCEEDED])},
    "a status but not that": {
        "statuses": [RunStatus.FAILED, RunStatus.QUEUED],
        "not_": RunFilter.part(statuses=[RunStatus.FAILED]),
    },
    "no environment left": {"not_": RunFilter.part(environments=list(Environment))},
    "all but archived runs of a status": {
        "not_": RunFilter.part(statuses=[RunStatus.SUCCEEDED], archived=Archived.ONLY)
    },
    "started in a range": {"started_after": START - 2_000 * SECOND, "started_before": START - 1_990 * SECOND},
    "started before any": {"started_before": START - 9_000 * SECOND},
    "finished before": {"finished_before": START - 2_950 * SECOND},
    "finished after any": {"finished_after": START + 9_000 * SECOND},
    "created in a range": {"created_after": START - 2_000 * SECOND, "created_before": START - 1_990 * SECOND},
    "short runs": {"max_duration_ms": 500},
    "long runs": {"min_duration_ms": 99_500},
    "no duration": {"min_duration_ms": 10**9},
    "archived alone": {"archived": Archived.ONLY},
    "archived too": {"archived": Archived.INCLUDE, "tags": ["build 3"]},
    "external": {"external_ids": ["order 50", "order 100", "order 51"]},
    "started before the middle": {"started_before": START - 1_000 * SECOND},
    "finished before the middle": {"finished_before": START - 1_000 * SECOND},
    "started within": {"started_within": "PT10S"},
    "finished within and after": {"finished_within": "PT1H", "finished_after": START - 30 * SECOND},
    "updated in a range": {"updated_after": START - 2_000 * SECOND, "updated_before": START - 1_990 * SECOND},
    "updated within, none": {"updated_within": "PT0S"},
    "metadata equals": {"metadata_conditions": [condition(equals="7")]},
    "metadata one of": {"metadata_conditions": [condition(one_of=("7", '"x"'))]},
    "metadata beyond": {"metadata_conditions": [condition(greater_than=497.5, at_most=1e6)]},
    "metadata beyond any": {"metadata_conditions": [condition(at_least=1e300)]},
    "metadata below": {"metadata_conditions": [condition(less_than=400)]},
    "metadata with a prefix": {"metadata_conditions": [MetadataCondition(path=("name",), prefix='Gäste "1')]},
    "metadata with a long prefix": {"metadata_conditions": [MetadataCondition(path=("name",), prefix="G" * 99)]},
    "metadata with a value": {"metadata_conditions": [condition(exists=True)]},
    "metadata at an unknown path": {"metadata_conditions": [MetadataCondition(path=("unknown", "id"), exists=True)]},
    "metadata without a value": {"metadata_conditions": [condition(exists=False)]},
    "one rare tag or another": {
        "or_": [RunFilter.part(tags=["build 3"]), RunFilter.part(any_tags=["none", "build 4"])]
    },
    "rare tag or nested": {
        "or_": [RunFilter.part(or_=[RunFilter.part(tags=["build 3"])]), RunFilter.part(updated_within="PT5S")]
    },
    "a part with many runs": {
        "or_": [RunFilter.part(any_tags=["team 0", "team 1", "team 2"]), RunFilter.part(tags=["build 3"])]
    },
    "all but the usual statuses in a part": {
        "or_": [
            RunFilter.part(tags=["build 3"]),
            RunFilter.part(not_=RunFilter.part(statuses=[RunStatus.SUCCEEDED, RunStatus.FAILED])),
        ]
    },
    "rare or common tag": {"or_": [RunFilter.part(tags=["build 3"]), RunFilter.part(tags=["team 1"])]},
    "blank values": {"failed_step_name": "", "error_contains": "", "metadata": "{}", "min_duration_ms": 0},
    "everything": {},
}
ORDERS = [RunOrder(field, descending) for field in RunOrderField for descending in (True, False)]


def projects_of(conn: Connection, number: int | None) -> list[UUID] | None:
    """The project of a number; None for an operator, who sees all projects; for 9 the first two."""
    if number is None:
        return None
    names = [f"project {each}" for each in ((0, 1) if number == 9 else (number,))]
    return [key for name in names if (key := projects.by_name(conn, name)) is not None]


@pytest.mark.parametrize("name", list(FILTERS))
@pytest.mark.usefixtures("fake_clock")
async def test_narrowed_reads_find_what_the_filter_matches(filled: Database, name: str) -> None:
    # Each filter meets each order and each choice of projects, and these each other: not all three.
    shift = list(FILTERS).index(name)
    for start, number in enumerate((1, 9, None)):
        await filled.read(check, FILTERS[name], number, ORDERS[(start + shift) % 3 :: 3])


def check(conn: Connection, values: dict[str, Any], number: int | None, orders: Sequence[RunOrder]) -> None:
    where = RunFilter(project_ids=projects_of(conn, number), **values)
    condition = matches(where, conn.dialect.name)
    sorted_by = [name for name in reads.SORT_COLUMNS.values() if name is not None]
    row = table(FlowRun).c
    runs = conn.execute(select(row.id, *(row[name] for name in sorted_by)).where(condition)).all()
    assert reads.count(conn, where, None) == len(runs)
    assert reads.count(conn, where, 10) == min(10, len(runs))
    for order in orders:
        column = reads.SORT_COLUMNS[order.field]
        expected = sorted(
            runs, key=lambda run: (0 if column is None else getattr(run, column), run.id), reverse=order.descending
        )
        first = reads.page(conn, ("status",), where, order, Page(7))
        assert [run.id for run in first] == [run.id for run in expected[:7]]
        last = reads.page(conn, ("status",), where, order, Page(7, backward=True))
        assert [run.id for run in last] == [run.id for run in expected[-7:]]
        if len(expected) > 7:
            value = sort_value(first[-1], column)
            place = Position(value, first[-1].id)
            second = reads.page(conn, ("status",), where, order, Page(7, after=place))
            assert [run.id for run in second] == [run.id for run in expected[7:14]]
            assert reads.has_more(conn, where, order, Edge(place, before=False))
            assert reads.has_more(conn, where, order, Edge(place, before=True))


NARROWED = (
    "rare error",
    "absent error",
    "unknown tags",
    "absent trigger",
    "absent status",
    "started in a range",
    "started before any",
    "finished before",
    "finished after any",
    "created in a range",
    "no duration",
    "archived alone",
    "rare tag",
    "nested metadata",
    "unknown metadata",
    "updated in a range",
    "updated within, none",
    "metadata equals",
    "metadata one of",
    "metadata beyond any",
    "metadata at an unknown path",
    "one rare tag or another",
    "all but the usual statuses",
    "a status but not that",
    "no environment left",
    "a part with many runs",
    "all but the usual statuses in a part",
)


IN_ONE_INDEX = ("absent status", "created in a range")
"""Filters of which one index has the runs in the order of their creation."""


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", NARROWED)
@pytest.mark.usefixtures("fake_clock")
async def test_few_runs_are_named_and_read_by_their_keys(filled: Database, name: str) -> None:
    for order in ORDERS:
        plans = await filled.read(plans_of, partial(page, name=name, order=order))
        assert not [node for plan in plans for node in plan if node.startswith("SCAN flow_run")], plans
        if order.field is RunOrderField.CREATED_AT and name in IN_ONE_INDEX:
            assert not [node for node in plans[-1] if "TEMP B-TREE" in node], plans
        else:
            assert any("sqlite_autoindex_flow_run_1" in node for node in plans[-1]), plans


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["started before the middle", "finished before the middle"])
async def test_many_runs_in_a_range_are_read_in_the_order_of_creation(filled: Database, name: str) -> None:
    plans = await filled.read(plans_of, partial(page, name=name, order=RunOrder()))
    assert not [node for node in plans[-1] if "TEMP B-TREE" in node], plans
    assert "ix_run_project (project_id=? AND id<?)" in str(plans[-1]), plans


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ["rare error", "absent error"])
async def test_index_of_texts_finds_rare_errors(filled: Database, name: str) -> None:
    plans = await filled.read(plans_of, lambda conn: page(conn, name, RunOrder()))
    assert "run_error_text" in str(plans), plans
    assert "Seq Scan" not in str(plans[1:]), plans  # the first statement reads the project


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_tags_are_counted_from_their_terms_alone(filled: Database) -> None:
    where = RunFilter(tags=["team 1"])
    (plan,) = await filled.read(plans_of, lambda conn: reads.count(conn, where, None))
    assert not [node for node in plan if "flow_run" in node and "ix_run_archived" not in node], plan


@pytest.mark.parametrize("field", [RunOrderField.STARTED_AT, RunOrderField.FINISHED_AT, RunOrderField.DURATION])
async def test_operators_read_the_index_of_each_project(filled: Database, field: RunOrderField) -> None:
    plans = await filled.read(
        plans_of, lambda conn: reads.page(conn, ("status",), RunFilter(), RunOrder(field), Page(7))
    )
    assert f"ix_run_project_{field.value.removesuffix('_AT').lower()}" in str(plans), plans
    assert "SCAN flow_run" not in str(plans), plans


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_operators_do_not_read_other_runs_for_a_project_without_runs(filled: Database) -> None:
    def plans(uow: UnitOfWork) -> list[list[str]]:
        point = uow.conn.begin_nested()
        of_all = projects.by_name(uow.conn, "project 1")
        uow.conn.execute(update(table(FlowRun)).values(project_id=of_all))
        uow.conn.execute(text("ANALYZE flow_run"))
        where = RunFilter(tags=["team 1"])
        found = plans_of(uow.conn, lambda conn: reads.page(conn, ("status",), where, RunOrder(), Page(7)))
        point.rollback()
        return found

    _, of_projects, *_ = await filled.write(plans)
    indexes = [node for node in of_projects if node.startswith(("Index", "Bitmap Index"))]
    # One for the project with all runs; the others have none.
    assert sum("flow_run_pkey" in node for node in indexes) <= 1, of_projects
    assert sum("ix_run_project" in node for node in indexes) >= PROJECTS - 1, of_projects


@pytest.mark.parametrize(
    "values",
    [
        {"started_after": START - 4 * SECOND},
        {"finished_before": key_time(6)},
        {"updated_after": START - 4 * SECOND},
        {"max_duration_ms": -1},
        {"flow_version_ids": [UUID(int=1)]},
        FILTERS["one rare tag or another"],
    ],
    ids=lambda values: next(iter(values)),
)
async def test_few_runs_are_named(filled: Database, values: Any) -> None:
    def named(conn: Connection) -> tuple[Sequence[UUID] | None, set[UUID]]:
        where = RunFilter(project_ids=projects_of(conn, 1), archived=Archived.INCLUDE, **values)
        matching = select(table(FlowRun).c.id).where(matches(where, conn.dialect.name))
        return narrow.narrow(conn, where).ids, set(conn.execute(matching).scalars())

    ids, expected = await filled.read(named)
    assert ids is not None
    assert set(ids) == expected


def page(conn: Connection, name: str, order: RunOrder) -> object:
    where = RunFilter(project_ids=projects_of(conn, 1), **FILTERS[name])
    return reads.page(conn, ("status",), where, order, Page(7))


class TestTerms:
    def test_document_has_the_terms_of_its_parts(self) -> None:
        document = '{"a": {"b": [1, {"c": "x"}], "d": null}, "e": true}'
        for part in ('{"a": {"b": [1.0]}}', '{"a": {"b": [{"c": "x"}]}}', '{"a": {"d": null}}', '{"e": true}', "{}"):
            assert set(terms.metadata_terms(part)) <= set(terms.metadata_terms(document))

    @pytest.mark.parametrize("other", ['{"a": "1"}', '{"a": true}', '{"b": 1}', '{"a": {"a": 1}}', '{"a": [1]}'])
    def test_other_documents_have_other_terms(self, other: str) -> None:
        assert not set(terms.metadata_terms(other)) & set(terms.metadata_terms('{"a": 1}'))

    @pytest.mark.parametrize("value", ["1", "null", '{"b": 1}', "{}", "[]", '[{"b": 1}]', "[{}]", "[[]]", '{"b": {}}'])
    def test_every_value_at_a_path_has_a_term_that_begins_with_it(self, value: str) -> None:
        starts = terms.value_terms(("a",))
        assert starts is not None
        of_runs = orjson.loads(terms.run_terms("[]", f'{{"a": {value}}}'))
        assert any(term.startswith(tuple(starts)) for term in of_runs)
        others = orjson.loads(terms.run_terms('["a"]', f'{{"ab": {value}, "b": {{"a": {value}}}}}'))
        assert not any(term.startswith(tuple(starts)) for term in others)

    def test_long_terms_are_shortened_and_stay_apart(self) -> None:
        first, second = (terms.tag_term("x" * 500 + end) for end in "ab")
        assert first != second
        assert terms.is_shortened(first)
        assert max(len(first), len(second)) <= terms.MAX_LENGTH


def test_few_is_below_the_number_of_runs() -> None:
    """The tests above meet both: values with few runs, and values with more."""
    assert FEW < COUNT // PROJECTS
