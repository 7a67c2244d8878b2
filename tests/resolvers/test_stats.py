"""`flowRunStats` through the API."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from domain.enums import RunStatus
from domain.time import clock
from tests.support import factory
from tests.support.app import App, statements
from tests.support.clock import START, FakeClock
from tests.support.factory import PublishedFlow
from tests.support.run_family import make_flow, make_runs

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def ran(status: RunStatus, ago: timedelta, number: int = 0, **values: Any) -> Mapping[str, Any]:
    return {"id": factory.uuid_at(START - ago, number), "status": status, **values}


def failed(ago: timedelta, step: str, code: str, number: int = 0) -> Mapping[str, Any]:
    error = {"error_code": "X", "error_message": f"error {number}", "error_fingerprint": code}
    return ran(RunStatus.FAILED, ago, number, failed_step_name=step, **error)


@pytest.fixture
async def published(fake_clock: FakeClock, idle_app: App) -> PublishedFlow:
    """A flow with runs of three days."""
    published = await make_flow(idle_app)
    lengths = [{"duration_ms": length} for length in (10, 20, 30, 1_000)]
    done = [ran(RunStatus.SUCCEEDED, HOUR, number, **each) for number, each in enumerate(lengths)]
    broken = [failed(2 * DAY, "charge", "aa", 1), failed(2 * DAY, "charge", "bb", 2), failed(DAY, "charge", "bb", 3)]
    live = [ran(RunStatus.RUNNING, timedelta(0), started_at=START), failed(DAY, "mail", "cc", 4)]
    old = ran(RunStatus.SUCCEEDED, HOUR, 9, archived_at=START, duration_ms=5)
    await make_runs(idle_app, published, *done, *broken, *live, old)
    return published


async def asked(app: App, fields: str, **more: Any) -> Any:
    text = f"query($filter: FlowRunFilter) {{ flowRunStats(filter: $filter) {{ {fields} }} }}"
    return (await app.query(text, {"filter": more.pop("filter", None)}, **more))["flowRunStats"]


def present(counts: list[dict[str, Any]]) -> dict[str, int]:
    return {each["status"]: each["count"] for each in counts if each["count"]}


async def test_every_status_is_listed_and_archived_runs_are_excluded(idle_app: App, published: PublishedFlow) -> None:
    found = await asked(idle_app, "at total byStatus { status count }")
    assert found["at"] == "2026-01-01T00:00:00.000000Z"
    assert found["total"] == 9
    assert [each["status"] for each in found["byStatus"]] == list(RunStatus)
    assert present(found["byStatus"]) == {"RUNNING": 1, "SUCCEEDED": 4, "FAILED": 4}
    assert (await asked(idle_app, "total", filter={"archived": "ONLY"})) == {"total": 1}


async def test_durations_are_in_milliseconds(idle_app: App, published: PublishedFlow) -> None:
    fields = "durations { count minMs maxMs meanMs p50Ms p90Ms p95Ms p99Ms }"
    found = await asked(idle_app, fields, filter={"statuses": ["SUCCEEDED"]})
    assert found["durations"] == {
        "count": 4,
        "minMs": 10,
        "maxMs": 1_000,
        "meanMs": 265,
        "p50Ms": 20,
        "p90Ms": 1_000,
        "p95Ms": 1_000,
        "p99Ms": 1_000,
    }
    assert (await asked(idle_app, fields, filter={"statuses": ["RUNNING"]})) == {"durations": None}


async def test_buckets_are_whole_and_without_gaps(idle_app: App, published: PublishedFlow) -> None:
    found = await asked(idle_app, "timeBuckets(size: DAY) { start end total byStatus { status count } }")
    buckets = found["timeBuckets"]
    assert len(buckets) == 30
    assert [each["start"] for each in buckets[1:]] == [each["end"] for each in buckets[:-1]]
    assert [each["total"] for each in buckets[-4:]] == [0, 0, 2, 6]
    assert present(buckets[-1]["byStatus"]) == {"SUCCEEDED": 4, "FAILED": 2}
    assert len(buckets[0]["byStatus"]) == len(RunStatus)


async def test_buckets_cover_the_filter_by_default(idle_app: App, published: PublishedFlow) -> None:
    where = {"createdAfter": "2025-12-30T05:30:00Z", "createdBefore": "2025-12-30T08:00:00Z"}
    fields = "timeBuckets { start } minutes: timeBuckets(from: $from, to: $to, size: MINUTE) { start end }"
    text = (
        "query($filter: FlowRunFilter, $from: DateTime, $to: DateTime)"
        f" {{ flowRunStats(filter: $filter) {{ {fields} }} }}"
    )
    span = {"from": "2025-12-30T05:30:00+01:00", "to": "2025-12-30T04:31:01Z"}
    found = (await idle_app.query(text, {"filter": where, **span}))["flowRunStats"]
    assert [each["start"][11:16] for each in found["timeBuckets"]] == ["05:00", "06:00", "07:00"]
    assert [each["end"][11:16] for each in found["minutes"]] == ["04:31", "04:32"]


async def test_days_begin_in_the_time_zone(idle_app: App, published: PublishedFlow) -> None:
    chart = 'timeBuckets(size: DAY, from: "2025-03-30T12:00:00Z", to: "2025-03-31T12:00:00Z", timeZone: %s) { start }'
    found = await asked(idle_app, chart % '"Europe/Berlin"')
    assert [each["start"] for each in found["timeBuckets"]] == [
        "2025-03-29T23:00:00.000000Z",
        "2025-03-30T22:00:00.000000Z",
    ]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('timeBuckets(timeZone: "Mars/Base") { start }', "No time zone has this name"),
        ('timeBuckets(size: MINUTE, from: "2025-01-01") { start }', "1,000"),
        ('timeBuckets(from: "2027-01-01") { start }', "ends before it begins"),
        ('timeBuckets(from: "0001-01-01T00:00:00Z", to: "0001-01-01T01:00:00Z", size: DAY,'
         ' timeZone: "America/New_York") { start }', "calendar"),
        ("topFailingSteps(first: 0) { count }", "from 1 to 100"),
        ("topFailingSteps(first: 101) { count }", "from 1 to 100"),
        ("topFailingSteps { errors(first: 21) { count } }", "from 1 to 20"),
    ],
)  # fmt: skip
async def test_invalid_arguments_are_refused(idle_app: App, published: PublishedFlow, field: str, message: str) -> None:
    (error, *_) = (await idle_app.execute(f"{{ flowRunStats {{ {field} }} }}"))["errors"]
    assert error["extensions"]["code"] == "INVALID_ARGUMENT"
    assert message in error["message"]


async def test_failing_steps_have_their_errors(idle_app: App, published: PublishedFlow) -> None:
    fields = """topFailingSteps { stepName count flow { name }
        errors { fingerprint message count lastSeenAt sampleRun { id status error { message } } } }"""
    charge, mail = (await asked(idle_app, fields))["topFailingSteps"]
    assert (charge["stepName"], charge["count"], charge["flow"]["name"]) == ("charge", 3, "flow")
    assert [(each["fingerprint"], each["count"], each["message"]) for each in charge["errors"]] == [
        ("bb", 2, "error 3"),
        ("aa", 1, "error 1"),
    ]
    newest = charge["errors"][0]
    assert newest["lastSeenAt"] == "2025-12-31T00:00:01.000000Z"
    assert newest["sampleRun"]["error"]["message"] == "error 3"
    assert [each["fingerprint"] for each in mail["errors"]] == ["cc"]
    one = await asked(idle_app, "topFailingSteps(first: 1) { stepName errors(first: 1) { fingerprint } }")
    assert one["topFailingSteps"] == [{"stepName": "charge", "errors": [{"fingerprint": "bb"}]}]


async def test_key_sees_only_its_own_project(idle_app: App, published: PublishedFlow) -> None:
    keys = idle_app.keys
    fields = "total topFailingSteps { count } durations { count } timeBuckets(size: DAY) { total }"
    other = await asked(idle_app, fields, key=keys.other_viewer)
    assert (other["total"], other["topFailingSteps"], other["durations"]) == (0, [], None)
    assert {each["total"] for each in other["timeBuckets"]} == {0}
    mine = {"projectIds": [idle_app.project]}
    assert await asked(idle_app, "total", key=keys.other_viewer, filter=mine) == {"total": 0}
    assert await asked(idle_app, "total", key=keys.viewer) == {"total": 9}
    assert await asked(idle_app, "total", key=keys.all_projects) == {"total": 9}


async def test_each_selected_part_is_one_statement(idle_app: App, published: PublishedFlow) -> None:
    counts = "total byStatus { count } again: total"
    parts = {
        "at": 0,
        counts: 1,
        # The kept counts say how many there are, and so few are read exactly.
        "durations { p50Ms maxMs } same: durations { count }": 2,
        "timeBuckets { total } same: timeBuckets(size: HOUR) { byStatus { count } }": 1,
        "timeBuckets { total } days: timeBuckets(size: DAY) { total }": 2,
        "topFailingSteps { stepName count }": 1,
        "topFailingSteps { count errors { count message } }": 2,
        "topFailingSteps { errors { sampleRun { status } } }": 3,
    }
    for fields, expected in parts.items():
        with statements() as executed:
            await asked(idle_app, fields)
        assert len(executed.of_resolvers) == expected, fields


async def test_running_runs_last_equally_long_in_every_part(
    fake_clock: FakeClock, idle_app: App, published: PublishedFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    instants = [START + number * timedelta(seconds=5) for number in range(1, 100)]
    monkeypatch.setattr(clock, "now", lambda: instants.pop(0))
    where = {"statuses": ["RUNNING"], "minDurationMs": 0, "maxDurationMs": 12_000}
    found = await asked(idle_app, "at total timeBuckets(size: MINUTE) { total }", filter=where)
    assert found["total"] == sum(each["total"] for each in found["timeBuckets"])
