"""Statistics equal the numbers of a reference in Python, on both databases."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from db.core.database import Database
from db.models import FlowRun
from db.models.types import table
from db.runs.statistics import stats
from db.sql.rows import AnyRow
from domain.enums import RunStatus
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.time import time_buckets
from domain.time.cron import get_zone
from domain.time.time_buckets import BucketSize
from tests.db.runs import filter_values
from tests.db.runs import test_filter as of_filters
from tests.db.test_plans import statements_on
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import PublishedFlow

OLDEST = filter_values.OLDEST
MS = timedelta(milliseconds=1)
fill = of_filters.fill

FILTERS: dict[str, dict[str, Any]] = {
    "all": {"archived": Archived.INCLUDE},
    "not archived": {},
    "failed": {"statuses": [RunStatus.FAILED, RunStatus.TIMEOUT]},
    "nothing": {"statuses": []},
    "tagged": {"any_tags": ["red", "blue"]},
    "at one step": {"failed_step_name": "fetch", "archived": Archived.INCLUDE},
    "long": {"min_duration_ms": 20},
    "short": {"max_duration_ms": 20, "archived": Archived.INCLUDE},
    "of metadata": {"metadata": '{"a": 1}', "archived": Archived.INCLUDE},
    "of a time": {"created_after": OLDEST + 100 * MS, "created_before": OLDEST + 300 * MS},
}


@pytest.fixture
async def rows(filled: Database) -> Sequence[AnyRow]:
    """Every run, all columns."""
    return await filled.read(lambda conn: conn.execute(select(table(FlowRun))).all())


@pytest.fixture(params=FILTERS)
def where(request: pytest.FixtureRequest) -> RunFilter:
    return RunFilter(**FILTERS[request.param])


@pytest.fixture
def matching_rows(rows: Sequence[AnyRow], where: RunFilter) -> list[AnyRow]:
    """The runs that match the filter, by the reference in Python."""
    return of_filters.matching(where, rows)


async def test_counts_by_status(filled: Database, where: RunFilter, matching_rows: list[AnyRow]) -> None:
    assert await filled.read(stats.counts, where, START) == Counter(row.status for row in matching_rows)


async def test_durations_cover_ended_runs(filled: Database, where: RunFilter, matching_rows: list[AnyRow]) -> None:
    lengths = sorted(row.duration_ms for row in matching_rows if row.duration_ms is not None)
    found = await filled.read(stats.durations, where, START)
    if not lengths:
        assert found is None
        return
    assert found is not None
    assert (found.count, found.min, found.max) == (len(lengths), lengths[0], lengths[-1])
    assert found.mean == pytest.approx(sum(lengths) / len(lengths))
    assert list(found.percentiles) == [lengths[-(-len(lengths) * part // 100) - 1] for part in stats.PERCENTILES]


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 99, 100, 101, 200])
async def test_percentiles_are_exact_for_any_number_of_runs(
    database: Database, published: PublishedFlow, count: int
) -> None:
    """They equal PostgreSQL's `percentile_disc`, without its rounding."""
    done = {"status": RunStatus.SUCCEEDED}
    await database.write(factory.make_runs, published, [{**done, "duration_ms": 10 * n} for n in range(1, count + 1)])
    found = await database.read(stats.durations, RunFilter(), START)
    assert found is not None
    assert list(found.percentiles) == [10 * math.ceil(count * part / 100) for part in (50, 90, 95, 99)]


async def test_very_long_durations_do_not_overflow(database: Database, published: PublishedFlow) -> None:
    most = 2**53
    await database.write(
        factory.make_runs, published, [{"status": RunStatus.FAILED, "duration_ms": most} for _ in range(9)]
    )
    found = await database.read(stats.durations, RunFilter(), START)
    assert found == stats.Durations(9, most, most, float(most), [most] * 4)


def buckets(size: BucketSize, zone: str, since: datetime, until: datetime) -> tuple[datetime, ...]:
    return tuple(time_buckets.bounds(size, get_zone(zone), since, until))


SPANS = {
    "milliseconds": tuple(OLDEST + number * 7 * MS for number in range(101)),
    "uneven": (OLDEST - MS, OLDEST, OLDEST + 7 * MS, OLDEST + 8 * MS, OLDEST + 650 * MS),
    "one": (OLDEST, OLDEST + 7 * MS),
    "minutes": buckets(BucketSize.MINUTE, "UTC", OLDEST - timedelta(hours=3), START + timedelta(hours=1)),
    "days": buckets(BucketSize.DAY, "Asia/Kolkata", OLDEST - timedelta(days=2), START),
    "as many as may be": tuple(OLDEST + number * MS for number in range(-200, 801)),
    "long ago": buckets(BucketSize.DAY, "UTC", datetime(1, 1, 2, tzinfo=UTC), datetime(1, 2, 1, tzinfo=UTC)),
}


async def test_counts_by_creation_time(filled: Database, where: RunFilter, matching_rows: list[AnyRow]) -> None:
    for name, edges in SPANS.items():
        expected: dict[str, Counter[int]] = {}
        for row in matching_rows:
            for number, (start, end) in enumerate(pairwise(edges)):
                if start <= row.created_at < end:
                    expected.setdefault(row.status, Counter())[number] += 1
        assert await filled.read(stats.counts_by_time, where, START, edges) == expected, name


async def test_failing_steps_are_ordered_by_failures(
    filled: Database, where: RunFilter, matching_rows: list[AnyRow]
) -> None:
    runs = Counter((row.flow_id, row.failed_step_name) for row in matching_rows if row.failed_step_name is not None)
    expected = sorted(((*key, count) for key, count in runs.items()), key=lambda each: (-each[2], each[0], each[1]))
    for limit in (1, 3, 100):
        found = await filled.read(stats.failures, where, START, limit)
        assert [tuple(row) for row in found] == expected[:limit], limit


@pytest.mark.parametrize("limit", [1, 20])
async def test_errors_of_failing_steps_are_ordered_by_frequency(
    filled: Database, where: RunFilter, matching_rows: list[AnyRow], limit: int
) -> None:
    keys = tuple((row.flow_id, row.step_name) for row in await filled.read(stats.failures, where, START, 4))
    groups: defaultdict[Any, defaultdict[str, list[AnyRow]]] = defaultdict(lambda: defaultdict(list))
    for row in matching_rows:
        if (row.flow_id, row.failed_step_name) in keys and row.error_fingerprint is not None:
            groups[row.flow_id, row.failed_step_name][row.error_fingerprint].append(row)
    expected = {key: [summary(*each) for each in by_error.items()] for key, by_error in groups.items()}
    for errors in expected.values():
        errors.sort(key=lambda error: (-error[1], error[0]))
    found = await filled.read(stats.errors_by_failures, where, START, keys, limit)
    assert {
        key: [(row.fingerprint, row.runs, row.last_at, row.run_id, row.message) for row in errors]
        for key, errors in found.items()
    } == {key: errors[:limit] for key, errors in expected.items()}


def summary(fingerprint: str, runs: list[AnyRow]) -> tuple[Any, ...]:
    newest = max(runs, key=lambda row: row.id)
    last = max((row.finished_at for row in runs if row.finished_at is not None), default=None)
    return fingerprint, len(runs), last, newest.id, newest.error_message


async def test_running_runs_last_until_the_given_instant(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_run, published, status=RunStatus.RUNNING, started_at=START)
    where = RunFilter(min_duration_ms=5_000)
    sizes = [await database.read(stats.counts, where, START + timedelta(seconds=n)) for n in (4, 5)]
    assert sizes == [{}, {"RUNNING": 1}]


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_kept_counts_read_no_run_and_other_counts_only_an_index(filled: Database, rows: Sequence[AnyRow]) -> None:
    where = RunFilter(project_ids=[rows[0].project_id])

    def plans(conn: Any) -> list[str]:
        with statements_on(conn) as statements:
            stats.counts(conn, where, START)
            stats.counts_by_time(conn, where, START, SPANS["days"])
            stats.counts_by_time(conn, where, START, SPANS["minutes"])
        return [
            row.detail
            for statement, parameters in list(statements)
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            if "flow_run" in row.detail
        ]

    (by_minute,) = await filled.read(plans)
    assert "COVERING INDEX ix_run_project_status (project_id=? AND status=? AND id>? AND id<?)" in by_minute
