"""FlowRunFilter, field by field, as clients write it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from domain import ids
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.ids import IdKind
from tests.support import factory
from tests.support.app import App
from tests.support.clock import FakeClock
from tests.support.factory import encode_run_id
from tests.support.run_family import make_flow, make_runs

DAY = datetime(2025, 6, 1, tzinfo=UTC)
LIST = """query($filter: FlowRunFilter) {
    flowRuns(filter: $filter, orderBy: {direction: ASC}) { nodes { source } totalCount } }"""


def at(hours: int) -> datetime:
    return DAY + timedelta(hours=hours)


ROWS: dict[str, dict[str, Any]] = {
    "good": {
        "status": RunStatus.SUCCEEDED,
        "tags": ["red", "blue"],
        "metadata": '{"order": {"id": 7, "lines": [{"sku": "a"}, {"sku": "b"}]}, "vip": true}',
        "external_id": "e-1",
        "started_at": at(1),
        "finished_at": at(2),
        "duration_ms": 3_600_000,
    },
    "bad": {
        "status": RunStatus.FAILED,
        "tags": ["blue"],
        "metadata": '{"order": {"id": 8}}',
        "environment": Environment.TESTING,
        "trigger_method": TriggerMethod.WEBHOOK,
        "failed_step_name": "charge",
        "error_code": "HTTP_STATUS",
        "error_message": "Card 100%_declined",
        "error_fingerprint": "f" * 16,
        "external_id": "e-2",
        "started_at": at(3),
        "finished_at": at(4),
        "duration_ms": 1_000,
    },
    "live": {"status": RunStatus.RUNNING, "started_at": at(5)},
    "new": {},
    "archived": {"status": RunStatus.FAILED, "archived_at": at(9), "started_at": at(6), "finished_at": at(7)},
}
BEFORE, AFTER = "2025-06-01T02:30:00Z", "2025-06-01T02:30:00+00:00"

BLANK_TEXTS = ["failedStepName", "errorContains", "errorFingerprint", "createdWithin", "startedWithin"]
METADATA: list[tuple[list[dict[str, Any]], str]] = [
    ([{"path": "order.id", "equals": 7}], "good"),
    ([{"path": "order.id", "equals": 7.0}], "good"),
    ([{"path": "order.id", "equals": "7"}], ""),
    ([{"path": "vip", "equals": 1}], ""),
    ([{"path": "vip", "equals": True}], "good"),
    ([{"path": "order.id", "in": [8, 9]}], "bad"),
    ([{"path": "order.id", "in": []}], ""),
    ([{"path": "order.id", "exists": True}], "good bad"),
    ([{"path": "order.id", "exists": False}], "live new"),
    ([{"path": "order.id", "greaterThan": 7}], "bad"),
    ([{"path": "order.id", "atLeast": 7, "lessThan": 8}], "good"),
    ([{"path": "order.id", "atMost": 7.5}], "good"),
    ([{"path": "order.lines.0", "exists": True}], ""),
    ([{"path": "order.lines", "prefix": "["}], ""),
    ([{"path": "vip", "exists": True}, {"path": "order.id", "lessThan": 100}], "good"),
    ([{"path": "order.id"}], "good bad live new"),
    ([{"path": "order.id", "prefix": ""}], "good bad live new"),
    ([], ""),
]
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "good bad live new"),
    ({"statuses": ["FAILED"]}, "bad"),
    ({"statuses": ["FAILED", "QUEUED"]}, "bad new"),
    ({"statuses": []}, ""),
    ({"environments": ["TESTING"]}, "bad"),
    ({"environments": []}, ""),
    ({"triggerMethods": ["WEBHOOK", "MANUAL"]}, "bad"),
    ({"tags": ["blue"]}, "good bad"),
    ({"tags": ["blue", "red"]}, "good"),
    ({"tags": ["blu"]}, ""),
    ({"tags": []}, ""),
    ({"anyTags": ["red", "green"]}, "good"),
    ({"anyTags": ["red", "blue"]}, "good bad"),
    ({"anyTags": []}, ""),
    ({"failedStepName": "charge"}, "bad"),
    ({"failedStepName": "charg"}, ""),
    ({"errorContains": "DECLINED"}, "bad"),
    ({"errorContains": "100%_"}, "bad"),
    ({"errorContains": "100%d"}, ""),
    ({"errorFingerprint": "f" * 16}, "bad"),
    ({"externalIds": ["e-2", "e-3"]}, "bad"),
    ({"externalIds": []}, ""),
    ({"startedAfter": BEFORE}, "bad live"),
    ({"startedBefore": "2025-06-01T04:30:00+02:00"}, "good"),
    ({"startedAfter": "2025-06-01T01:00:00"}, "good bad live"),
    ({"startedAfter": "2025-06-01T01:00:00.000001"}, "bad live"),
    ({"startedBefore": "2025-06-01T01:00:00"}, ""),
    ({"startedBefore": "2025-06-01T01:00:00.000001"}, "good"),
    ({"finishedAfter": AFTER}, "bad"),
    ({"finishedBefore": AFTER}, "good"),
    ({"startedAfter": BEFORE, "finishedBefore": "2025-06-02"}, "bad"),
    ({"createdAfter": "2025-01-01", "createdBefore": "2025-12-31"}, "good bad live new"),
    ({"createdAfter": "2025-12-31"}, ""),
    ({"createdBefore": "2025-12-31"}, "good bad live new"),
    ({"createdBefore": "2025-01-01"}, ""),
    ({"minDurationMs": 1_001}, "good live"),
    ({"maxDurationMs": 1_000}, "bad"),
    ({"minDurationMs": 1_000, "maxDurationMs": 1_000}, "bad"),
    ({"minDurationMs": 2**53 - 1}, ""),
    ({"metadata": {"order": {"id": 7}}}, "good"),
    ({"metadata": {"order": {"lines": [{"sku": "b"}]}}}, "good"),
    ({"metadata": {"vip": 1}}, ""),
    ({"metadata": {}}, "good bad live new"),
    ({"unrecovered": True}, "bad"),
    ({"unrecovered": False}, "good bad live new"),
    ({"archived": "INCLUDE"}, "good bad live new archived"),
    ({"archived": "ONLY"}, "archived"),
    ({"includeArchived": True}, "good bad live new archived"),
    ({"includeArchived": True, "archived": "EXCLUDE"}, "good bad live new"),
    ({"includeArchived": False, "archived": "ONLY"}, "archived"),
    ({"tags": ["blue"], "statuses": ["FAILED"]}, "bad"),
    ({"statuses": ["FAILED"], "tags": ["red"]}, ""),
    ({"rootsOnly": True}, "good bad live new"),
    ({"sources": ["good", "new", "nobody"]}, "good new"),
    ({"sources": []}, ""),
    ({"startedWithin": "P7M"}, "good bad live"),
    ({"startedWithin": "PT5131H"}, "live"),
    ({"finishedWithin": "P213DT20H"}, "bad"),
    ({"createdWithin": "PT1H"}, ""),
    ({"createdWithin": "P1Y"}, "good bad live new"),
    ({"updatedWithin": "P1W"}, "good bad live new"),
    ({"updatedAfter": "2026-01-01"}, "good bad live new"),
    ({"updatedAfter": "2026-01-01T00:00:00.001Z"}, ""),
    ({"updatedBefore": "2026-01-01T00:00:00.001Z"}, "good bad live new"),
    *(({"metadataConditions": conditions}, expected) for conditions, expected in METADATA),
    ({"not": {"statuses": ["FAILED"]}}, "good live new"),
    ({"not": {"failedStepName": "charge"}}, "good live new"),
    ({"not": {"startedAfter": BEFORE}}, "good new"),
    ({"not": {"tags": ["blue"], "statuses": ["FAILED"]}}, "good live new"),
    ({"not": {"not": {"statuses": ["FAILED"]}}}, "bad"),
    ({"not": {"ids": []}}, "good bad live new"),
    ({"not": {"minDurationMs": 1_001}}, "bad new"),
    ({"or": [{"statuses": ["RUNNING"]}, {"tags": ["red"]}]}, "good live"),
    ({"or": [{"statuses": ["RUNNING"]}, {"tags": ["red"]}], "not": {"externalIds": ["e-1"]}}, "live"),
    ({"or": [{"statuses": []}, {"not": {"or": [{"statuses": ["RUNNING"]}, {"tags": ["blue"]}]}}]}, "new"),
    ({"or": []}, ""),
    ({"or": [{"statuses": ["RUNNING"]}, {}]}, "good bad live new"),
    # The default of `archived` is that of the whole filter.
    ({"statuses": ["FAILED"], "not": {"archived": "EXCLUDE"}}, ""),
    ({"archived": "INCLUDE", "not": {"archived": "EXCLUDE"}}, "archived"),
    ({"archived": "INCLUDE", "or": [{"archived": "ONLY"}, {"tags": ["red"]}]}, "good archived"),
    ({"archived": "INCLUDE", "not": {"includeArchived": False}}, "archived"),
    ({"archived": "INCLUDE", "not": {"includeArchived": True}}, "good bad live new archived"),
    # What is blank is ignored.
    *(({name: ""}, "good bad live new") for name in BLANK_TEXTS),
    ({"minDurationMs": 0}, "good bad live new"),
    ({"not": {}}, "good bad live new"),
    ({"not": {"errorContains": "", "metadata": {}}}, "good bad live new"),
    (dict.fromkeys(("ids", "tags", "statuses", "archived", "metadata")), "good bad live new"),
]


async def sources(app: App, key: str | None = None, **where: Any) -> str:
    """The `source` of each run that matches the filter."""
    page = (await app.query(LIST, {"filter": where}, key=key))["flowRuns"]
    assert page["totalCount"] == len(page["nodes"])
    return " ".join(node["source"] for node in page["nodes"])


async def test_each_field_matches_expected_runs(fake_clock: FakeClock, idle_app: App) -> None:
    published = await make_flow(idle_app)
    # A run starts after its creation: bounds of the start bound the ID too.
    created = [factory.uuid_at(at(0), number) for number in range(len(ROWS))]
    shared = {"updated_at": fake_clock.now()}
    rows = ({"id": key, "source": word, **shared, **ROWS[word]} for key, word in zip(created, ROWS, strict=True))
    await make_runs(idle_app, published, *rows)
    for where, expected in CASES:
        assert await sources(idle_app, **where) == expected, where


async def test_every_field_of_the_filter_is_covered(idle_app: App) -> None:
    kind = (await idle_app.query('{ __type(name: "FlowRunFilter") { inputFields { name } } }'))["__type"]
    by_id = {"projectIds", "ids", "flowIds", "flowVersionIds", "parentRunId", "rootRunId", "retryOfId", "rerunOfId"}
    by_id |= {"scheduleIds", "webhookIds"}
    by_id |= {"waitingFor"}  # tests/resolvers/test_inbox.py
    by_id |= {"search"}  # tests/schema/filters/test_search.py
    assert {field["name"] for field in kind["inputFields"]} == by_id.union(*(where for where, _ in CASES))


async def test_id_fields_match_runs_flows_versions_and_relatives(idle_app: App) -> None:
    published, other = await make_flow(idle_app), await make_flow(idle_app, "other")
    first, second = await idle_app.database.write(
        factory.make_runs, published, [{"source": "first"}, {"source": "second"}]
    )
    related = [
        {"source": "child", "parent_run_id": first, "root_run_id": first},
        {"source": "retry", "retry_of_id": second},
        {"source": "rerun", "rerun_of_id": first},
    ]
    await make_runs(idle_app, other, *related)
    flow, version = ids.encode(IdKind.FLOW, other.flow_id), ids.encode(IdKind.FLOW_VERSION, published.version_id)
    assert (
        await sources(idle_app, ids=[encode_run_id(second), encode_run_id(first), encode_run_id(ids.new_uuid())])
        == "first second"
    )
    assert await sources(idle_app, ids=[]) == ""
    assert await sources(idle_app, flowIds=[flow]) == "child retry rerun"
    assert await sources(idle_app, flowIds=[]) == ""
    assert await sources(idle_app, flowVersionIds=[version]) == "first second"
    assert await sources(idle_app, flowVersionIds=[]) == ""
    assert await sources(idle_app, parentRunId=encode_run_id(first)) == "child"
    assert await sources(idle_app, retryOfId=encode_run_id(second)) == "retry"
    assert await sources(idle_app, rerunOfId=encode_run_id(first)) == "rerun"
    assert await sources(idle_app, rootRunId=encode_run_id(first)) == "first child"
    assert await sources(idle_app, rootRunId=encode_run_id(second)) == "second"
    assert await sources(idle_app, None, rootRunId=encode_run_id(first), **{"not": {"rootsOnly": True}}) == "child"
    assert await sources(idle_app, None, **{"not": {"flowIds": [flow], "parentRunId": encode_run_id(first)}}) == (
        "first second retry rerun"
    )
    assert await sources(idle_app, rootsOnly=True) == "first second retry rerun"


async def test_project_ids_apply_only_to_operator_keys(idle_app: App) -> None:
    await make_runs(idle_app, await make_flow(idle_app), {"source": "own"})
    foreign = await make_flow(idle_app, "foreign", project=idle_app.other_project)
    await make_runs(idle_app, foreign, {"source": "foreign"})
    everywhere = idle_app.keys.all_projects
    assert await sources(idle_app, everywhere) == "own foreign"
    assert await sources(idle_app, everywhere, projectIds=[idle_app.other_project]) == "foreign"
    assert await sources(idle_app, everywhere, projectIds=[]) == ""
    assert await sources(idle_app) == "own"
    assert await sources(idle_app, projectIds=[idle_app.project, idle_app.other_project]) == "own"
    assert await sources(idle_app, projectIds=[idle_app.other_project]) == ""
    assert await sources(idle_app, projectIds=[]) == ""


NUL = "a\0b"
REFUSED_CONDITIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "BAD_REQUEST"),
    ({"path": NUL}, "INVALID_ARGUMENT"),
    ({"path": ".".join("a" * 21)}, "INVALID_ARGUMENT"),
    ({"path": "a", "equals": {}}, "INVALID_ARGUMENT"),
    ({"path": "a", "equals": [1]}, "INVALID_ARGUMENT"),
    ({"path": "a", "equals": NUL}, "INVALID_ARGUMENT"),
    ({"path": "a", "in": [[1]]}, "INVALID_ARGUMENT"),
    ({"path": "a", "in": [1] * 1_001}, "INVALID_ARGUMENT"),
    ({"path": "a", "prefix": NUL}, "INVALID_ARGUMENT"),
    ({"path": "a", "atLeast": "1"}, "BAD_REQUEST"),
]


def nested(depth: int) -> dict[str, Any]:
    """A filter with so many levels of filters below it."""
    return {"not": nested(depth - 1)} if depth else {"tags": ["x"]}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"ids": ["x"]}, "INVALID_ID"),
    ({"ids": ["flow_" + "0" * 32]}, "INVALID_ID"),
    ({"flowIds": ["run_" + "0" * 32]}, "INVALID_ID"),
    ({"flowVersionIds": [""]}, "INVALID_ID"),
    ({"projectIds": [NUL]}, "INVALID_ID"),
    ({"parentRunId": "x"}, "INVALID_ID"),
    ({"retryOfId": "x"}, "INVALID_ID"),
    ({"ids": ["run_" + "0" * 32] * 1_001}, "INVALID_ARGUMENT"),
    ({"tags": ["x"] * 1_001}, "INVALID_ARGUMENT"),
    ({"metadata": [1]}, "INVALID_ARGUMENT"),
    ({"metadata": {"a": "x" * 70_000}}, "INPUT_TOO_LARGE"),
    ({"minDurationMs": -1}, "INVALID_ARGUMENT"),
    ({"maxDurationMs": -(2**53) + 1}, "INVALID_ARGUMENT"),
    ({"minDurationMs": 2**53}, "BAD_REQUEST"),
    ({"minDurationMs": 1.5}, "BAD_REQUEST"),
    ({"minDurationMs": True}, "BAD_REQUEST"),
    ({"createdAfter": "yesterday"}, "BAD_REQUEST"),
    ({"createdAfter": 5}, "BAD_REQUEST"),
    ({"createdAfter": "0001-01-01T00:00:00+14:00"}, "BAD_REQUEST"),
    ({"createdAfter": "9999-12-31T23:59:59-14:00"}, "BAD_REQUEST"),
    ({"statuses": ["DONE"]}, "BAD_REQUEST"),
    ({"nope": 1}, "BAD_REQUEST"),
    ({"tags": [NUL]}, "INVALID_ARGUMENT"),
    ({"anyTags": [NUL]}, "INVALID_ARGUMENT"),
    ({"externalIds": [NUL]}, "INVALID_ARGUMENT"),
    ({"failedStepName": NUL}, "INVALID_ARGUMENT"),
    ({"errorContains": NUL}, "INVALID_ARGUMENT"),
    ({"errorFingerprint": NUL}, "INVALID_ARGUMENT"),
    ({"metadata": {"a": NUL}}, "INVALID_ARGUMENT"),
    ({"metadata": {NUL: 1}}, "INVALID_ARGUMENT"),
    ({"sources": [NUL]}, "INVALID_ARGUMENT"),
    ({"scheduleIds": ["x"]}, "INVALID_ID"),
    ({"scheduleIds": ["hook_" + "0" * 32]}, "INVALID_ID"),
    ({"webhookIds": ["run_" + "0" * 32]}, "INVALID_ID"),
    ({"rootRunId": "x"}, "INVALID_ID"),
    ({"createdWithin": "1 day"}, "INVALID_ARGUMENT"),
    ({"updatedWithin": "P"}, "INVALID_ARGUMENT"),
    ({"startedWithin": "-P1D"}, "INVALID_ARGUMENT"),
    ({"not": {"finishedWithin": "PT"}}, "INVALID_ARGUMENT"),
    (nested(6), "INVALID_ARGUMENT"),
    ({"or": [{"tags": ["x"]}] * 51}, "INVALID_ARGUMENT"),
    ({"or": [{"or": [{"tags": ["x"]}] * 25}] * 2}, "INVALID_ARGUMENT"),
    ({"or": [{"tags": ["x"] * 1_000}] * 21}, "INVALID_ARGUMENT"),
    ({"metadataConditions": [{"path": "a", "in": [1] * 1_000}] * 21}, "INVALID_ARGUMENT"),
    ({"not": {"ids": ["x"]}}, "INVALID_ID"),
    ({"not": {"nope": 1}}, "BAD_REQUEST"),
    ({"or": [None]}, "BAD_REQUEST"),
    ({"metadataConditions": [{"path": "a", "exists": True}] * 51}, "INVALID_ARGUMENT"),
    *(({"metadataConditions": [condition]}, code) for condition, code in REFUSED_CONDITIONS),
]


async def test_largest_filter_is_accepted(idle_app: App) -> None:
    await make_runs(idle_app, await make_flow(idle_app), {"source": "one"})
    assert await sources(idle_app, **nested(5)) == "one"
    assert await sources(idle_app, None, **{"or": [{"sources": ["x"] * 399 + ["one"]}] * 50}) == "one"
    assert await sources(idle_app, tags=[f"tag {number}" for number in range(1_000)]) == ""
    conditions = [{"path": ".".join("a" * 20), "exists": False}] * 50
    assert await sources(idle_app, None, **{"or": [{"metadataConditions": conditions}, {"tags": ["x"]}]}) == "one"
    assert await sources(idle_app, None, **{"or": [{"tags": ["x"] * 1_000, "sources": ["one"] * 1_000}] * 9}) == ""


async def test_invalid_values_are_refused(idle_app: App) -> None:
    for where, code in REFUSED:
        assert await idle_app.error_code(LIST, {"filter": where}) == code, where


SPELLINGS = [
    ("2025-06-01T03:00:00z", "bad live"),
    ("2025-06-01t03:00:00Z", "bad live"),
    ("2025-06-01 03:00:00+00:00", "bad live"),
    ("2025-06-01T03:00:00-00:00", "bad live"),
    ("2025-06-01T03:00:00.0Z", "bad live"),
    ("20250601T030000Z", "bad live"),
    ("2025-06-01T05:00:01.5+02:00", "live"),
    ("2025-06-01T02:59:60Z", "bad live"),
    ("2025-06-01T02:59:60.25Z", "live"),
    ("2025-05-31T24:00:00Z", "good bad live"),
    ("2025-05-31t24:00", "good bad live"),
    ("2025-06-01T24:00:00.000z", ""),
    ("2025-06-01", "good bad live"),
]


async def test_times_in_rfc_3339_are_accepted(idle_app: App) -> None:
    published = await make_flow(idle_app)
    await make_runs(idle_app, published, *({"source": word, **row} for word, row in ROWS.items()))
    for text, expected in SPELLINGS:
        assert await sources(idle_app, startedAfter=text) == expected, text
    for text in ("2025-06-01T24:00:01Z", "2025-06-01T25:00:00Z", "2025-06-01T03:60:00Z", "2025-06-01T03:00:61Z"):
        assert await idle_app.error_code(LIST, {"filter": {"startedAfter": text}}) == "BAD_REQUEST"


async def test_adjacent_ranges_miss_no_run_and_share_none(idle_app: App) -> None:
    (run,) = await make_runs(idle_app, await make_flow(idle_app), {"source": "one", "status": RunStatus.FAILED})
    times = (await idle_app.query(f'{{ flowRun(id: "{run}") {{ createdAt startedAt finishedAt }} }}'))["flowRun"]
    for name in ("created", "started", "finished"):
        at = times[f"{name}At"]
        assert await sources(idle_app, **{f"{name}After": at}) == "one"
        assert await sources(idle_app, **{f"{name}Before": at}) == ""


async def test_ids_find_archived_runs(idle_app: App) -> None:
    rows: list[dict[str, Any]] = [{"source": "archived", "archived_at": at(9)}, {"source": "other"}]
    keys = await make_runs(idle_app, await make_flow(idle_app), *rows)
    assert await sources(idle_app, ids=keys) == "archived other"
    assert await sources(idle_app, ids=keys, archived="EXCLUDE") == "other"
    assert await sources(idle_app, ids=keys, archived="ONLY") == "archived"


async def test_times_at_the_ends_of_the_calendar_are_accepted(idle_app: App) -> None:
    await make_runs(idle_app, await make_flow(idle_app), {"source": "one", "status": RunStatus.FAILED})
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
    for name in ("created", "started", "finished"):
        assert await sources(idle_app, **{f"{name}After": first, f"{name}Before": last}) == "one"
        assert await sources(idle_app, **{f"{name}After": last, f"{name}Before": first}) == ""
    assert await idle_app.error_code(LIST, {"filter": {"createdAfter": "9999-12-31T24:00:00Z"}}) == "BAD_REQUEST"
