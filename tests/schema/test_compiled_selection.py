"""A compiled selection renders an event as graphql-core does."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLObjectType,
    execute_subscription_event,
    get_named_type,
    is_leaf_type,
    is_object_type,
    parse,
    validate,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from db.events import log as event_log
from db.models import RunEvent
from db.models.types import table
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import Role
from domain.time import clock
from engine.errors import StepError
from live.events import LogEvent, MatchedEvent, ReadBatch
from resolvers.context import Context, Viewer
from schema import subscription
from schema.build import build_schema
from schema.compiled_selection import UnexpectedValueError, compile_selection
from schema.subscription import CaughtUp, FlowRunStatusChanged, FlowRunUpdated
from tests.support.app import statements
from tests.support.worker import WorkerHarness, python, transform

SCHEMA = build_schema()._schema
ROW = SimpleNamespace(
    run_id=UUID(int=5),
    kind=event_log.RUN_STATUS,
    from_status="RUNNING",
    to_status="FAILED",
    message='It said "no"\n',
    at=datetime(2026, 1, 1, 12, 30, 15, 123456, UTC),
)


def row(**values: Any) -> AnyRow:
    return cast("AnyRow", SimpleNamespace(**{**vars(ROW), **values}))


OBJECTS = [
    FlowRunStatusChanged(row=row(), cursor="one", matches=True),
    FlowRunStatusChanged(row=row(from_status=None, to_status="QUEUED"), cursor="two", matches=False),
    *(FlowRunUpdated(row=row(kind=kind), cursor=kind, matches=True) for kind in ("RUN_ARCHIVED", "RUN_RECOVERED")),
    CaughtUp(cursor="end"),
]
PLANNED = [
    "__typename",
    "__typename ... on FlowRunStatusChanged { cursor runId status matches change { from to at message } }",
    "... on FlowRunStatusChanged { change { from } change { to __typename } key: cursor cursor cursor }",
    "... on FlowRunUpdated { kind runId } ... on CaughtUp { cursor }",
    "...Changed ... on FlowRunStatusEvent { __typename ...Changed }",
    "kind: __typename ... { ... on CaughtUp { kind: __typename } }",
]
UNPLANNED = [
    '... on FlowRunStatusChanged { run { step(name: "only") { name } } }',
    "... on FlowRunStatusChanged { run { retries { totalCount } } }",
    "... on FlowRunStatusChanged { cursor @skip(if: true) }",
    "... on FlowRunStatusChanged @include(if: true) { cursor }",
    "...Changed @skip(if: false)",
]
FRAGMENT = (
    "fragment Changed on FlowRunStatusChanged { status change { ...Change } } fragment Change on StatusChange { at }"
)


def executor(selection: str) -> Executor[Any]:
    text = f"subscription {{ it: flowRunStatusChanged {{ {selection} }} }}"
    document = parse(f"{text} {FRAGMENT}" if "...Changed" in selection else text)
    assert not validate(SCHEMA, document)
    built = Executor.build(SCHEMA, document)
    assert not isinstance(built, list)
    return built


@pytest.mark.parametrize("selection", PLANNED)
def test_plan_returns_what_graphql_core_returns(selection: str) -> None:
    built = executor(selection)
    plan = compile_selection(built)
    assert plan is not None
    assert plan.is_immediate
    for value in OBJECTS:
        result = execute_subscription_event(built.build_per_event_executor(value))
        assert isinstance(result, ExecutionResult)
        assert result.errors is None
        # Their order too.
        assert orjson.dumps(plan.data(value)) == orjson.dumps(result.data)


@pytest.mark.parametrize("selection", UNPLANNED)
def test_selection_of_other_fields_is_not_compiled(selection: str) -> None:
    assert compile_selection(executor(selection)) is None


@dataclass
class Unknown:
    cursor: str = "?"


def test_unexpected_values_are_left_to_graphql_core() -> None:
    plan = compile_selection(executor("... on CaughtUp { cursor }"))
    assert plan is not None
    with pytest.raises(UnexpectedValueError):
        plan.data(Unknown())
    with pytest.raises(UnexpectedValueError):
        plan.data(None)
    with pytest.raises(UnexpectedValueError):
        plan.data(CaughtUp(cursor=cast("str", None)))


# What is loaded

ROOTS = {
    "flowRunStatusChanged": ("FlowRunStatusChanged", "FlowRunUpdated", "CaughtUp"),
    'flowRunProgressed(runId: "")': ("FlowRunStatusChanged", "StepChanged", "LogLinesAppended", "CaughtUp"),
}
PROGRESS = {event_log.RUN_STATUS, event_log.STEP_STATUS, event_log.LOG_LINES}
DEPTH = 4


@st.composite
def selections(draw: Any, named: str, depth: int = DEPTH) -> str:
    """Fields of a type without arguments, and the fields below them."""
    output = SCHEMA.type_map[named]
    assert isinstance(output, GraphQLObjectType)
    names = ["__typename"]
    for name, field in output.fields.items():
        below = get_named_type(field.type)
        if not field.args and (is_leaf_type(below) or (depth and is_object_type(below))):
            names.append(name)
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4))
    return " ".join([draw(selected(output, name, depth)) for name in chosen])


@st.composite
def selected(draw: Any, output: GraphQLObjectType, name: str, depth: int) -> str:
    below = get_named_type(output.fields[name].type) if name in output.fields else None
    if not isinstance(below, GraphQLObjectType):
        return name
    inner = draw(selections(below.name, depth - 1))
    # As it is, or in a fragment.
    return f"{name} {{ {inner} }}" if draw(st.booleans()) else f"{name} {{ ... on {below.name} {{ {inner} }} }}"


@st.composite
def subscriptions(draw: Any) -> str:
    root = draw(st.sampled_from(sorted(ROOTS)))
    parts = [f"... on {named} {{ {draw(selections(named))} }}" for named in ROOTS[root]]
    return f"subscription {{ it: {root} {{ {' '.join(parts)} }} }}"


async def fail() -> None:
    raise StepError("DOWN", "It is down.")


@pytest.fixture
async def matched_events(worker: WorkerHarness) -> Sequence[Any]:
    """What is matched_events of runs that succeed, fail, are retried and archived."""
    flow = await worker.publish(transform("only", 1), transform("more", 2))
    broken = await worker.publish(transform("first", 1), python("bad", "fail"))
    run_id = await worker.execute(flow)
    await worker.retry(await worker.execute(broken, fail=fail))
    updated = {"run_id": run_id, "project_id": worker.project_id, "flow_id": flow.id, "at": clock.now()}
    await worker.database.write(
        lambda uow: event_log.append(uow, [{**updated, "kind": kind} for kind in ("RUN_ARCHIVED", "RUN_RECOVERED")])
    )
    # Read straight from the table: the tailer waits for other transactions on the server.
    log = table(RunEvent)
    rows = await worker.database.read(lambda conn: conn.execute(select(log).order_by(log.c.seq)).all())
    batch = ReadBatch()
    return [MatchedEvent(LogEvent(row, batch), matches=True) for row in rows]


def object_of(item: MatchedEvent, root: str) -> object:
    return (subscription.run_event if root == "flowRunStatusChanged" else subscription.progress_event)(item)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(subscriptions())
async def test_plan_loads_the_same_values_as_graphql_core(
    worker: WorkerHarness, matched_events: Sequence[MatchedEvent], text: str
) -> None:
    document = parse(text)
    if validate(SCHEMA, document):
        return  # fields of the same name and other types
    built = Executor.build(SCHEMA, document)
    assert not isinstance(built, list)
    plan = compile_selection(built)
    assert plan is not None, text
    root = next(name for name in ("flowRunStatusChanged", "flowRunProgressed") if name in text)
    kinds = event_log.RUN_KINDS if root == "flowRunStatusChanged" else PROGRESS
    values = [object_of(item, root) for item in matched_events if item.event.row.kind in kinds]
    known, expected = [], []
    for value in values:
        executor = built.build_per_event_executor(value)
        executor.context_value = context(worker)
        result = execute_subscription_event(executor)
        if isinstance(result, Awaitable):
            result = await result
        assert isinstance(result, ExecutionResult)
        if result.errors:
            with pytest.raises(Exception, match=r"."):
                await plan.load([value], context(worker))
        else:
            known.append(value)
            expected.append(orjson.dumps(result.data))
    assert [orjson.dumps(data) for data in await plan.load(known, context(worker))] == expected


def context(worker: WorkerHarness) -> Context:
    viewer = Viewer(ids.new_uuid(), worker.project_id, Role.ADMIN, "watcher")
    return Context(worker.database, worker.flows, viewer)


async def test_a_level_is_one_batch_however_many_events(
    worker: WorkerHarness, matched_events: Sequence[MatchedEvent]
) -> None:
    built = executor("... on FlowRunStatusChanged { run { id flow { name project { name } } steps { name } } }")
    plan = compile_selection(built)
    assert plan is not None
    assert not plan.is_immediate
    values = [
        object_of(item, "flowRunStatusChanged")
        for item in matched_events
        if item.event.row.kind == event_log.RUN_STATUS
    ]
    with statements() as found:
        made = await plan.load(values * 20, context(worker))
    assert len(made) == len(values) * 20
    # Runs, flows, steps, and the projects of the flows.
    assert len(found.texts) == 4
