"""What the counts answer equals a reference in Python: from changes, from sums, and from both."""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import BigInteger, Connection, literal, select

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, RunRollupState
from db.models.types import EPOCH, table
from db.rollups import answers, levels, upkeep
from db.rollups.levels import bucket_of, middle_of
from db.runs import reads
from db.runs.statistics import stats
from db.sql.rows import AnyRow
from domain import ids
from domain.enums import Environment, RunStatus, TriggerMethod
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL
from domain.time import time_buckets
from domain.time.cron import get_zone
from domain.time.time_buckets import BucketSize
from tests.db.runs import test_filter as of_filters
from tests.support import factory
from tests.support.clock import START

FIRST = datetime(2026, 3, 28, 21, 7, 3, 123_000, tzinfo=UTC)
"""The creation of the oldest run. Central European clocks are set forward a few hours later."""
LENGTH = timedelta(days=5)
COUNT = 400
HOUR = timedelta(hours=1)


def _values(choose: random.Random) -> dict[str, Any]:
    status = choose.choice(list(RunStatus))
    created_at = FIRST + choose.randrange(LENGTH // timedelta(milliseconds=1)) * timedelta(milliseconds=1)
    has_ended = status in FINAL and choose.random() < 0.9
    return {
        "id": factory.uuid_at(created_at, choose.randrange(4096)),
        "status": status,
        "environment": choose.choice(list(Environment)),
        "trigger_method": choose.choice(list(TriggerMethod)),
        "archived_at": created_at if status in FINAL and choose.random() < 0.3 else None,
        "duration_ms": choose.choice([0, 127, 128, 129, 10**12, choose.randrange(10**7)]) if has_ended else None,
        "failed_step_name": choose.choice("abc") if status is RunStatus.FAILED else None,
    }


def fill(uow: UnitOfWork) -> None:
    """Makes runs of three flows in two projects; the first are summed, the next ones are left as changes."""
    choose = random.Random(7)
    home = factory.make_project_with_flow(uow, "home")
    flows = [home, factory.make_flow(uow, home.project_id, "second"), factory.make_project_with_flow(uow, "other")]
    for number in range(COUNT):
        factory.make_run(uow, choose.choice(flows), **_values(choose))
        if number == COUNT // 2:
            assert not upkeep.sum_up(uow, COUNT)


@pytest.fixture
async def rows(filled: Database) -> Sequence[AnyRow]:
    """Every run, all columns."""
    return await filled.read(lambda conn: conn.execute(select(table(FlowRun)).order_by(table(FlowRun).c.id)).all())


WINDOWS: Mapping[str, Mapping[str, Any]] = {
    "always": {},
    "from an hour on": {"created_after": datetime(2026, 3, 30, 5, tzinfo=UTC)},
    "from an odd instant on": {"created_after": datetime(2026, 3, 30, 5, 1, 2, 3_500, tzinfo=UTC)},
    "until an odd instant": {"created_before": datetime(2026, 4, 1, 23, 59, 59, 999_999, tzinfo=UTC)},
    "some hours": {
        "created_after": datetime(2026, 3, 29, 22, tzinfo=UTC),
        "created_before": datetime(2026, 3, 30, 4, tzinfo=UTC),
    },
    "days with ends": {
        "created_after": datetime(2026, 3, 29, 22, 40, 1, tzinfo=UTC),
        "created_before": datetime(2026, 4, 2, 4, 10, tzinfo=UTC),
    },
    "long ago": {"created_before": datetime(1960, 1, 1, tzinfo=UTC)},
    "in the future": {"created_after": datetime(9990, 1, 1, tzinfo=UTC)},
    "within": {"created_within": "P2DT3H"},
}
DIMENSIONS: Mapping[str, Mapping[str, Any]] = {
    "everything": {"archived": Archived.INCLUDE},
    "by default": {},
    "archived failures": {"statuses": [RunStatus.FAILED], "archived": Archived.ONLY},
    "environments": {"environments": list(Environment)[:1]},
    "trigger": {"trigger_methods": [TriggerMethod.API], "archived": Archived.INCLUDE},
    "all dimensions": {
        "environments": list(Environment)[:1],
        "trigger_methods": list(TriggerMethod)[:3],
        "statuses": [RunStatus.FAILED, RunStatus.SUCCEEDED],
    },
    "no status": {"statuses": []},
}

NOW = FIRST + LENGTH


@pytest.fixture(params=WINDOWS)
def window(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return WINDOWS[request.param]


def _filters(rows: Sequence[AnyRow], window: Mapping[str, Any]) -> list[RunFilter]:
    projects = sorted({row.project_id for row in rows})
    flows = sorted({row.flow_id for row in rows})
    scopes: list[dict[str, Any]] = [{}, {"project_ids": projects[:1]}, {"flow_ids": flows[:1]}, {"flow_ids": flows[:2]}]
    return [RunFilter(**scope, **part, **window) for scope in scopes for part in DIMENSIONS.values()]


def _matching(where: RunFilter, rows: Sequence[AnyRow]) -> list[AnyRow]:
    if where.created_within is not None:
        rows = [row for row in rows if row.created_at >= NOW - timedelta(days=2, hours=3)]
    plain = RunFilter(
        **{
            name: getattr(where, name)
            for name in RunFilter.__dataclass_fields__
            if name != "created_within" and getattr(where, name) is not None
        }
    )
    return of_filters.matching(plain, rows)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the counts answered when the statistics asked them, the last answer at the end."""
    found: list[Any] = []

    def recorded(ask: Callable[..., Any], *args: Any) -> Any:
        found.append(ask(*args))
        return found[-1]

    for name in ("counts", "counts_by_time"):
        monkeypatch.setattr(answers, name, partial(recorded, getattr(answers, name)))
    return found


async def test_counts_durations_and_failures(
    filled: Database, rows: Sequence[AnyRow], window: Mapping[str, Any], answered: list[Any]
) -> None:
    def check(conn: Connection, where: RunFilter) -> None:
        runs = _matching(where, rows)
        by_status = Counter(row.status for row in runs)
        assert stats.counts(conn, where, NOW) == by_status, where
        counted = answered.pop()
        assert counted == by_status or (counted is None and not _has_whole_slots(where)), where
        lasted = answers.durations(conn, where, NOW)
        if lasted is not None:
            lengths = [row.duration_ms for row in runs if row.duration_ms is not None]
            assert {each.bucket: each.runs for each in lasted} == Counter(_bucket(length) for length in lengths), where
            assert sum(each.total_ms for each in lasted) == sum(lengths), where
        steps = Counter((row.flow_id, row.failed_step_name) for row in runs if row.failed_step_name is not None)
        expected = sorted(((*step, count) for step, count in steps.items()), key=lambda each: (-each[2], *each[:2]))
        assert stats.failures(conn, where, NOW, 4) == expected[:4], where

    # Each window meets each scope and each dimension, and every scope each dimension: not all three.
    first = list(WINDOWS.values()).index(window) % 2
    for where in _filters(rows, window)[first::2]:
        await filled.read(check, where)


def _has_whole_slots(where: RunFilter) -> bool:
    return where.created_before is None or where.created_before > EPOCH


CHARTS = [
    (BucketSize.DAY, "UTC"),
    (BucketSize.DAY, "Europe/Berlin"),
    (BucketSize.DAY, "Asia/Kolkata"),
    (BucketSize.HOUR, "Asia/Kolkata"),
    (BucketSize.HOUR, "Asia/Kathmandu"),
    (BucketSize.HOUR, "UTC"),
    (BucketSize.MINUTE, "UTC"),
]


@pytest.mark.parametrize("chart", range(len(CHARTS)), ids=[f"{size}-{zone}" for size, zone in CHARTS])
async def test_counts_by_time(filled: Database, rows: Sequence[AnyRow], chart: int, answered: list[Any]) -> None:
    """Each chart is asked for in each window and with each filter, and each filter in each window: not all three."""
    size, zone = CHARTS[chart]
    since = FIRST + (LENGTH - 2 * HOUR if size is BucketSize.MINUTE else HOUR / 3)
    bounds = tuple(time_buckets.bounds(size, get_zone(zone), since, NOW))

    def check(conn: Connection, where: RunFilter) -> None:
        expected: dict[str, Counter[int]] = {}
        for row in _matching(where, rows):
            for number, (start, end) in enumerate(pairwise(bounds)):
                if start <= row.created_at < end:
                    expected.setdefault(row.status, Counter())[number] += 1
        assert stats.counts_by_time(conn, where, NOW, bounds) == expected, where
        answer = answered.pop()
        if size is BucketSize.MINUTE:
            assert answer is None, where
        elif answer is not None:
            assert answer == expected, where

    for row, window in enumerate(WINDOWS.values()):
        for column, where in enumerate(_filters(rows, window)[:14]):
            if (row + column) % len(CHARTS) == chart:
                await filled.read(check, where)


async def test_charts_of_whole_projects_are_answered_in_every_time_zone(filled: Database) -> None:
    for zone in ("UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"):
        bounds = tuple(time_buckets.bounds(BucketSize.DAY, get_zone(zone), FIRST, NOW))
        assert await filled.read(answers.counts_by_time, RunFilter(), NOW, bounds) is not None


@pytest.mark.parametrize(
    "where",
    [
        {"tags": ["red"]},
        {"ids": [ids.new_uuid()]},
        {"flow_version_ids": [ids.new_uuid()]},
        {"unrecovered": True},
        {"roots_only": True},
        {"started_after": FIRST},
        {"min_duration_ms": 5},
        {"not_": RunFilter.part(statuses=[RunStatus.FAILED])},
        {"or_": (RunFilter.part(statuses=[RunStatus.FAILED]),)},
    ],
)
async def test_other_filters_are_left_to_the_runs(filled: Database, where: dict[str, Any]) -> None:
    assert await filled.read(answers.counts, RunFilter(**where), START) is None


async def test_a_count_stops_at_its_limit(filled: Database, rows: Sequence[AnyRow]) -> None:
    everything = RunFilter(archived=Archived.INCLUDE)
    assert await filled.read(reads.count, everything, None) == len(rows)
    assert await filled.read(reads.count, everything, 10) == 10


async def test_counts_give_no_answer_while_old_runs_are_counted(database: Database) -> None:
    await database.write(fill)
    where = RunFilter(archived=Archived.INCLUDE)
    assert await database.read(answers.counts, where, NOW) is not None
    await database.write(upkeep.start_again)
    assert await database.read(answers.counts, where, NOW) is None
    assert sum((await database.read(stats.counts, where, NOW)).values()) == COUNT
    while await database.write(upkeep.fill, 50):
        assert await database.read(answers.counts, where, NOW) is None
    assert sum((await database.read(answers.counts, where, NOW) or {}).values()) == COUNT
    assert await database.read(lambda conn: conn.execute(select(table(RunRollupState).c.filled_until)).scalar()) is None


def _bucket(duration: int) -> int:
    shift = max(0, duration.bit_length() - levels.SIGNIFICANT_BITS)
    return duration >> shift << shift


async def test_buckets_of_durations(database: Database) -> None:
    lengths = sorted({0, 1, 2**40 - 1, *(2**bits + more for bits in range(1, 40) for more in (-1, 0, 1))})
    found = await database.read(
        lambda conn: [conn.execute(select(bucket_of(literal(each, BigInteger)))).scalar() for each in lengths]
    )
    assert found == [_bucket(length) for length in lengths]
    for length in lengths:
        assert abs(middle_of(_bucket(length)) - length) <= length * 0.01


async def test_many_durations_are_approximate_and_few_are_exact(
    database: Database, published: factory.PublishedFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = random.Random(11)
    lengths = sorted(round(math.exp(choose.uniform(0, 16))) for _ in range(500))
    rows = [{"status": RunStatus.SUCCEEDED, "duration_ms": length} for length in lengths]
    await database.write(factory.make_runs, published, rows)
    exact = await database.read(stats.durations, RunFilter(), START)
    monkeypatch.setattr(stats, "EXACT_DURATIONS", 500)
    close = await database.read(stats.durations, RunFilter(), START)
    assert exact is not None
    assert close is not None
    assert exact.count == close.count
    assert exact.mean == pytest.approx(close.mean)
    assert list(exact.percentiles) == [lengths[-(-500 * part // 100) - 1] for part in stats.PERCENTILES]
    assert close.percentiles != exact.percentiles
    assert [close.min, close.max, *close.percentiles] == pytest.approx(
        [exact.min, exact.max, *exact.percentiles], rel=0.01
    )
