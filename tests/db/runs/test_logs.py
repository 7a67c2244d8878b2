from datetime import timedelta
from uuid import UUID

import pytest

from db.core.database import Database
from db.runs import claims, step_journal
from db.runs.claims import LeaseLostError
from db.runs.output import logs
from db.runs.output.logs import Line, LogFilter
from db.runs.step_journal import RunOutput
from db.runs.transitions import Lease
from db.sql.keyset import Edge, Page, Position
from domain import ids
from domain.runs.run_log import LogLevel
from domain.time import clock
from tests.support import factory

ALL = LogFilter()
MOST = 100


def line(message: str, level: LogLevel = LogLevel.INFO, step: str = "a") -> Line:
    return Line(clock.now(), level, step, 1, message)


@pytest.fixture
async def run_ids(database: Database) -> list[UUID]:
    """Creates two runs and returns their IDs."""
    published = await database.write(factory.make_project_with_flow)
    return await database.write(factory.make_runs, published, [{"ran_ms": 0, "depth": 0}] * 2)


async def messages(database: Database, run_id: UUID, where: LogFilter = ALL, page: Page | None = None) -> list[str]:
    found = await database.read(logs.by_runs, [run_id], where, page or Page(1_000))
    return [row.message for row in found.get(run_id, [])]


async def test_lines_are_numbered_per_run(database: Database, run_ids: list[UUID]) -> None:
    for run_id in (*run_ids, *run_ids):
        await database.write(logs.append, run_id, [line("one"), line("two")], MOST)
    found = await database.read(logs.by_runs, run_ids, ALL, Page(100))
    for run_id in run_ids:
        assert [(row.number, row.message) for row in found[run_id]] == [(1, "one"), (2, "two"), (3, "one"), (4, "two")]


@pytest.mark.parametrize("sizes", [[12], [10, 1], [10, 1, 1], [4, 4, 4, 4], [5, 5, 3]])
async def test_full_log_ends_with_notice(database: Database, run_ids: list[UUID], sizes: list[int]) -> None:
    numbers = iter(range(1, 100))
    for size in sizes:
        await database.write(logs.append, run_ids[0], [line(f"{next(numbers)}") for _ in range(size)], 10)
    kept = await messages(database, run_ids[0])
    assert kept == [*map(str, range(1, 11)), "The log ends here: a run keeps at most 10 lines."]


async def test_log_of_exactly_the_limit_has_no_notice(database: Database, run_ids: list[UUID]) -> None:
    await database.write(logs.append, run_ids[0], [line(f"{number}") for number in range(10)], 10)
    assert len(await messages(database, run_ids[0])) == 10


async def test_pages_of_several_runs_are_read_in_one_batch(database: Database, run_ids: list[UUID]) -> None:
    for run_id in run_ids:
        await database.write(logs.append, run_id, [line(f"{number}") for number in range(1, 8)], MOST)
    for page, expected in (
        (Page(3), ["1", "2", "3"]),
        (Page(3, backward=True), ["5", "6", "7"]),
        (Page(3, after=Position(2, run_ids[0])), ["3", "4", "5"]),
    ):
        both = await database.read(logs.by_runs, run_ids, ALL, page)
        assert await messages(database, run_ids[0], page=page) == expected
        assert [row.message for row in both[run_ids[0]]] == expected
        if page.after is None:
            assert [row.message for row in both[run_ids[1]]] == expected


async def test_filters_select_lines(database: Database, run_ids: list[UUID]) -> None:
    run_id = run_ids[0]
    log_lines = [
        line("Paid 100% of it", LogLevel.DEBUG),
        line("paid 10 of it", LogLevel.INFO, "b"),
        line("odd", LogLevel.WARNING, "b"),
        line("broken", LogLevel.ERROR),
    ]
    await database.write(logs.append, run_id, log_lines, MOST)
    for where, expected in (
        (LogFilter(level=LogLevel.WARNING), [2, 3]),
        (LogFilter(level=LogLevel.DEBUG), [0, 1, 2, 3]),
        (LogFilter(step_name="b"), [1, 2]),
        (LogFilter(search="PAID"), [0, 1]),
        (LogFilter(search="0%"), [0]),
        (LogFilter(search="_"), []),
        (LogFilter("b", LogLevel.INFO, "paid"), [1]),
    ):
        assert await messages(database, run_id, where) == [log_lines[index].message for index in expected]
        counts = await database.read(logs.counts_by_runs, run_ids, where)
        assert counts.get(run_id, 0) == len(expected)
        edges = [
            (run_id, Edge(Position(1, run_id), before=False)),
            (run_id, Edge(Position(1, run_id), before=True)),
            (run_ids[1], Edge(Position(1, run_ids[1]), before=False)),
        ]
        beyond = await database.read(logs.runs_with_more, edges, where)
        assert [beyond.get(edge, False) for edge in edges] == [any(index > 0 for index in expected), False, False]


async def test_append_requires_the_lease(database: Database, run_ids: list[UUID]) -> None:
    (claimed, *_) = await database.write(claims.claim, 10, timedelta(seconds=15))
    output = RunOutput([line("kept")], MOST, [])
    await database.write(step_journal.write_output, claimed.lease, output)
    zombie = Lease(claimed.lease.run_id, ids.new_uuid())
    with pytest.raises(LeaseLostError):
        await database.write(step_journal.write_output, zombie, output)
    with pytest.raises(LeaseLostError):
        await database.write(step_journal.with_output, zombie, output, step_journal.advance, None, None)
    assert await messages(database, claimed.lease.run_id) == ["kept"]
