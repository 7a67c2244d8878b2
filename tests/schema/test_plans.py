"""What a plan makes of an event is what graphql-core makes of it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
from graphql import ExecutionResult, Executor, execute_subscription_event, parse, validate

from db import events
from db.rows import AnyRow
from schema.build import build_schema
from schema.plans import UnplannedError, plan_of
from schema.subscription import CaughtUp, FlowRunStatusChanged, FlowRunUpdated

SCHEMA = build_schema()._schema
ROW = SimpleNamespace(
    run_id=UUID(int=5),
    kind=events.RUN_STATUS,
    from_status="RUNNING",
    to_status="FAILED",
    message='It said "no"\n',
    at=datetime(2026, 1, 1, 12, 30, 15, 123456, UTC),
)


def row(**values: Any) -> AnyRow:
    return cast("AnyRow", SimpleNamespace(**{**vars(ROW), **values}))


TOLD = [
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
    "... on FlowRunStatusChanged { run { id } }",
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
def test_a_plan_tells_what_graphql_core_tells(selection: str) -> None:
    built = executor(selection)
    plan = plan_of(built)
    assert plan is not None
    for told in TOLD:
        result = execute_subscription_event(built.build_per_event_executor(told))
        assert isinstance(result, ExecutionResult)
        assert result.errors is None
        # Their order too.
        assert orjson.dumps(plan(told)) == orjson.dumps(result.data)


@pytest.mark.parametrize("selection", UNPLANNED)
def test_what_is_not_of_plain_fields_has_no_plan(selection: str) -> None:
    assert plan_of(executor(selection)) is None


@dataclass
class Unknown:
    cursor: str = "?"


def test_what_a_plan_does_not_know_is_left_to_graphql_core() -> None:
    plan = plan_of(executor("... on CaughtUp { cursor }"))
    assert plan is not None
    with pytest.raises(UnplannedError):
        plan(Unknown())
    with pytest.raises(UnplannedError):
        plan(None)
    with pytest.raises(UnplannedError):
        plan(CaughtUp(cursor=cast("str", None)))
