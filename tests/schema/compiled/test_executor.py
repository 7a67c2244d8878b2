"""Long lists in results have the same bytes, whether their selection is compiled or not."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from db.runs.statistics import stats
from domain.time import clock
from engine.compiled_flow import FlowCache
from resolvers.context import Context
from schema import compiled_selection, executor
from schema.build import build_schema
from schema.types.column_list import ColumnList
from tests.schema.compiled.both_ways import viewer_of
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.run_family import make_flow, make_run_family, make_runs

PLAIN = """{ flowRuns(first: 100) { nodes { ...run } } }
    fragment run on FlowRun { key: id status createdAt __typename }"""
DIRECTIVE = "query($yes: Boolean!) { flowRuns(first: 100) { nodes { id status @include(if: $yes) } } }"
LOADED = "{ flowRuns(first: 100) { nodes { id retryability { allowed reason } } } }"
BUCKETS = """query($yes: Boolean!, $no: Boolean!) { flowRunStats {
    timeBuckets(size: HOUR) { ...bucket, total @include(if: $no) }
    days: timeBuckets(size: DAY, timeZone: "Europe/Berlin", from: "2025-03-29", to: "2025-04-02") { start end }
    long: timeBuckets(size: DAY, from: "0001-01-02", to: "0001-01-04") { start ... @skip(if: $yes) { end } }
    names: timeBuckets(size: MINUTE) { __typename }
    failures { series(size: HOUR) { of: __typename count start until: end } }
    } }
    fragment bucket on TimeBucket { from: start end sum: total __typename byStatus { s: status __typename ...count } }
    fragment count on StatusCount { count @include(if: $yes) all: count @skip(if: $yes) }"""


@pytest.mark.parametrize(
    ("query", "compiled"),
    [
        (PLAIN, [True]),
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


async def _answer(app: App, query: str, *, compiles: bool) -> tuple[bytes, list[Any]]:
    context = Context(app.database, FlowCache(app.database), await viewer_of(app), compiles=compiles)
    result = await build_schema().execute(query, {"yes": True, "no": False}, context)
    errors = [(error.message, error.path, error.locations) for error in result.errors or ()]
    return orjson.dumps(result.data), errors


async def test_columns_are_written_as_their_objects_are_completed(
    idle_app: App, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = {"created_at": clock.now() - timedelta(minutes=1)}
    failed = {**recent, "status": "FAILED", "error_fingerprint": "aa", "error_code": "X", "error_message": "no"}
    await make_runs(idle_app, await make_flow(idle_app), {**recent, "status": "SUCCEEDED"}, failed, failed)
    was_written, write = list[int](), ColumnList.written

    def noted(items: ColumnList[Any], *args: Any) -> str:
        was_written.append(len(items))
        return write(items, *args)

    monkeypatch.setattr(ColumnList, "written", noted)
    expected = await _answer(idle_app, BUCKETS, compiles=False)
    assert was_written == []
    assert await _answer(idle_app, BUCKETS, compiles=True) == expected
    assert sorted(was_written) == [2, 5, 24, 24, 60]
    assert b'"count":2' in expected[0]
    assert expected[1] == []


async def test_counts_that_are_too_large_are_reported_by_graphql_core(
    idle_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(*_: Any) -> dict[str, dict[int, int]]:
        return {"FAILED": {3: 2**31}}

    monkeypatch.setattr(stats, "counts_by_time", counted)
    query = "{ flowRunStats { timeBuckets { start total } } }"
    expected = await _answer(idle_app, query, compiles=False)
    assert [path for _, path, _ in expected[1]] == [["flowRunStats", "timeBuckets", 3, "total"]]
    assert await _answer(idle_app, query, compiles=True) == expected


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
