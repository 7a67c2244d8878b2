"""Long lists in results have the same bytes, whether their selection is compiled or not."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from domain.time import clock
from engine.compiled_flow import FlowCache
from resolvers.context import Context
from schema import compiled_selection, executor
from schema.build import build_schema
from tests.schema.compiled.both_ways import viewer_of
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import make_flow, make_run_family, make_runs

BUCKETS = """{ flowRunStats { timeBuckets(size: HOUR) { ...bucket } } }
    fragment bucket on TimeBucket { from: start end total __typename byStatus { status count } }"""
DIRECTIVE = "query($yes: Boolean!) { flowRunStats { timeBuckets(size: HOUR) { start total @include(if: $yes) } } }"
LOADED = "{ flowRuns(first: 100) { nodes { id retryability { allowed reason } } } }"


@pytest.mark.parametrize(
    ("query", "compiled"),
    [
        (BUCKETS, [True]),
        (DIRECTIVE, [False]),  # it has a directive
        (LOADED, [False]),  # a field waits for a loader
    ],
)
async def test_long_lists_are_equal_both_ways(
    idle_app: App, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch, query: str, compiled: Sequence[bool]
) -> None:
    await make_run_family(idle_app)
    await make_runs(idle_app, await make_flow(idle_app, "many"), *[{"created_at": clock.now()}] * 20)
    viewer, was_compiled = await viewer_of(idle_app), []
    complete = compiled_selection.item_completer

    def noted(*args: Any) -> Any:
        found = complete(*args)
        was_compiled.append(found is not None)
        return found

    monkeypatch.setattr(executor, "item_completer", noted)

    async def answer(*, compiles: bool) -> bytes:
        context = Context(idle_app.database, FlowCache(idle_app.database), viewer, compiles=compiles)
        result = await build_schema().execute(query, {"yes": True}, context)
        assert not result.errors
        return orjson.dumps(result.data)

    expected = await answer(compiles=False)
    assert was_compiled == []
    assert await answer(compiles=True) == expected
    assert was_compiled[: len(compiled)] == compiled


async def test_errors_in_long_lists_are_those_of_the_general_path(idle_app: App) -> None:
    await make_runs(idle_app, await make_flow(idle_app), *[{"status": "NONSENSE"}] * 20)
    viewer = await viewer_of(idle_app)
    query = "{ flowRuns { nodes { id status } } }"
    answers = []
    for compiles in (False, True):
        context = Context(idle_app.database, FlowCache(idle_app.database), viewer, compiles=compiles)
        result = await build_schema().execute(query, {}, context)
        assert result.errors
        answers.append((result.data, [(error.path, error.locations) for error in result.errors]))
    assert answers[0] == answers[1]
