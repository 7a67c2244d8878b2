import itertools
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, delete

from db import flows
from db.core.database import Database
from db.core.pg_rows import PLANNED_WITH_VALUES
from db.core.unit_of_work import UnitOfWork
from db.flows import FlowFilter
from db.models import FlowRun
from db.models.types import table
from db.row_json.statements import RowTexts
from db.row_json.writer import Literal, Object
from db.row_types import RunRow
from db.runs import reads as run_reads
from db.runs import texts
from db.sql.keyset import Edge, Page, Position, sort_value
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import PublishedFlow

ORDERS = [RunOrder(field, descending) for field in RunOrderField for descending in (False, True)]
ALL = RunFilter(archived=Archived.INCLUDE)
SECOND = timedelta(seconds=1)
COUNT = 40


def key_of(number: int) -> UUID:
    """An ID; several share one millisecond."""
    return factory.uuid_at(START + number // 4 * timedelta(milliseconds=1), number)


def run(number: int) -> dict[str, Any]:
    """A run with sort values that many others share, or that are null."""
    draw = random.Random(number)
    started_at = draw.choice([None, START, START + SECOND, START + timedelta(microseconds=1)])
    return {
        "id": key_of(number),
        "started_at": started_at,
        "finished_at": None if started_at is None else draw.choice([None, START + SECOND, START + 2 * SECOND]),
        "duration_ms": draw.choice([None, 0, 0, 1, 5_000]),
        "updated_at": draw.choice([START, START, START + SECOND, START + timedelta(microseconds=1)]),
    }


def fill(uow: UnitOfWork) -> None:
    published = factory.make_project_with_flow(uow)
    numbers = list(range(COUNT))
    random.Random(1).shuffle(numbers)
    factory.make_runs(uow, published, map(run, numbers))


def position(row: RunRow, order: RunOrder) -> Position:
    return Position(sort_value(row, run_reads.SORT_COLUMNS[order.field]), row.id)


def in_order(numbers: Sequence[int], order: RunOrder) -> list[UUID]:
    """The order of a plain sort: null is lowest, equal values are ordered by ID."""
    column = run_reads.SORT_COLUMNS[order.field]

    def sort_key(number: int) -> tuple[bool, Any, UUID]:
        value = run(number)[column] if column else None
        return (value is not None, value if value is not None else 0, key_of(number))

    rows = sorted(numbers, key=sort_key, reverse=order.descending)
    return [key_of(number) for number in rows]


def walk(conn: Connection, order: RunOrder, size: int, *, backward: bool) -> list[list[UUID]]:
    """All pages from one end to the other, each in the order of the list."""
    pages: list[list[UUID]] = []
    edge: Position | None = None
    while True:
        page = Page(size, before=edge, backward=True) if backward else Page(size, after=edge)
        rows = run_reads.page(conn, (), ALL, order, page)
        if not rows:
            return pages
        pages.append([row.id for row in rows])
        edge = position(rows[0] if backward else rows[-1], order)


async def test_pages_in_both_directions_hold_every_row_once(filled: Database) -> None:
    for order, size in itertools.product(ORDERS, (1, 7, COUNT, COUNT + 1)):
        expected = in_order(range(COUNT), order)
        forward = await filled.read(walk, order, size, backward=False)
        backward = await filled.read(walk, order, size, backward=True)
        assert list(itertools.chain(*forward)) == expected
        assert list(itertools.chain(*reversed(backward))) == expected
        assert all(len(page) == size for pages in (forward, backward) for page in pages[:-1])


def windows(conn: Connection, order: RunOrder) -> list[tuple[int, int, list[UUID]]]:
    """Pages between any two cursors."""
    rows = run_reads.page(conn, (), ALL, order, Page(COUNT))
    positions = (0, 1, 11, COUNT // 2, COUNT - 1)
    found = []
    for first, last in itertools.product(positions, positions):
        page = Page(COUNT, position(rows[first], order), position(rows[last], order))
        found.append((first, last, [row.id for row in run_reads.page(conn, (), ALL, order, page)]))
    return found


async def test_page_between_two_cursors_holds_the_rows_between(filled: Database) -> None:
    for order in ORDERS:
        expected = in_order(range(COUNT), order)
        for first, last, keys in await filled.read(windows, order):
            assert keys == expected[first + 1 : last], order


def beyond(conn: Connection, order: RunOrder) -> list[tuple[bool, bool, bool, bool]]:
    """Returns, for each row, whether rows precede and follow it, without and with itself."""
    found = []
    for row in run_reads.page(conn, (), ALL, order, Page(COUNT)):
        at = position(row, order)
        edges = [Edge(at, before, inclusive) for inclusive in (False, True) for before in (True, False)]
        in_front, behind, *with_itself = (run_reads.has_more(conn, ALL, order, edge) for edge in edges)
        found.append((in_front, behind, *with_itself))
    return found  # type: ignore[return-value]


async def test_has_more_on_both_sides_of_each_row(filled: Database) -> None:
    inner = [(True, True, True, True)] * (COUNT - 2)
    for order in ORDERS:
        sides = await filled.read(beyond, order)
        assert sides == [(False, True, True, True), *inner, (True, False, True, True)], order


def beyond_removed(uow: UnitOfWork, order: RunOrder) -> tuple[bool, ...]:
    """Returns whether rows follow the position of the first row, which was deleted."""
    first, *_ = run_reads.page(uow.conn, (), ALL, order, Page(1))
    uow.conn.execute(delete(table(FlowRun)).where(table(FlowRun).c.id == first.id))
    at = position(first, order)
    edges = [Edge(at, before, inclusive) for before in (True, False) for inclusive in (False, True)]
    return tuple(run_reads.has_more(uow.conn, ALL, order, edge) for edge in edges)


async def test_position_of_deleted_row_stays_valid(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, map(run, range(len(ORDERS) + 2)))
    for order in ORDERS:
        assert await database.write(beyond_removed, order) == (False, False, True, True), order


OLD = {key_of(number) for number in range(COUNT)}


def page_while_others_come(uow: UnitOfWork, published: PublishedFlow, order: RunOrder, *, backward: bool) -> list[UUID]:
    """The rows of all pages, with rows inserted everywhere after each page, which are deleted afterwards."""
    point = uow.conn.begin_nested()
    seen: list[UUID] = []
    edge: Position | None = None
    new = itertools.count(COUNT)
    while True:
        page = Page(7, before=edge, backward=True) if backward else Page(7, after=edge)
        rows = run_reads.page(uow.conn, (), ALL, order, page)
        seen += [row.id for row in (reversed(rows) if backward else rows)]
        if len(rows) < 7:
            point.rollback()
            return seen
        edge = position(rows[0] if backward else rows[-1], order)
        if len(seen) < 2 * COUNT:
            factory.make_runs(uow, published, [run(next(new)) for _ in range(5)])


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_concurrent_inserts_duplicate_and_hide_no_row(
    database: Database, published: PublishedFlow, backward: bool
) -> None:
    await database.write(factory.make_runs, published, map(run, range(COUNT)))
    for order in ORDERS:
        seen = await database.write(page_while_others_come, published, order, backward=backward)
        assert len(seen) == len(set(seen)), order
        old = [key for key in seen if key in OLD]
        expected = in_order(range(COUNT), order)
        assert old == (expected[::-1] if backward else expected), order


OWNERS = [factory.uuid_at(START, number) for number in range(4)]


def add_family(uow: UnitOfWork, published: PublishedFlow) -> None:
    """Creates children of the first three owners, one of them with one child; the fourth has no children."""
    owners = [OWNERS[number % 2] for number in range(COUNT - 1)] + [OWNERS[2]]
    rows = [run(number) | {"parent_run_id": owner} for number, owner in enumerate(owners)]
    factory.make_runs(uow, published, [row | {"archived_at": START} if number % 5 == 0 else row
                                  for number, row in enumerate(rows)])  # fmt: skip


PAGES = [
    Page(3),
    Page(3, backward=True),
    Page(100),
    Page(4, after=Position(0, key_of(10))),
    Page(4, before=Position(0, key_of(30)), backward=True),
    Page(4, after=Position(0, key_of(10)), before=Position(0, key_of(15))),
]


def per_owner(conn: Connection, page: Page, order: RunOrder) -> dict[UUID, list[UUID]]:
    found = {}
    for owner in OWNERS:
        where = RunFilter(parent_run_id=owner, archived=Archived.INCLUDE)
        if rows := run_reads.page(conn, (), where, order, page):
            found[owner] = [row.id for row in rows]
    return found


def together(conn: Connection, page: Page, order: RunOrder) -> dict[UUID, list[UUID]]:
    found = run_reads.pages_by(conn, OWNERS, "parent_run_id", {"status"}, order, page)
    return {owner: [row.id for row in rows] for owner, rows in found.items()}


async def test_batched_pages_equal_single_pages(database: Database, published: PublishedFlow) -> None:
    await database.write(add_family, published)
    for page, descending in itertools.product(PAGES, (False, True)):
        order = RunOrder(descending=descending)
        assert await database.read(together, page, order) == await database.read(per_owner, page, order)
    for order in ORDERS:
        assert await database.read(together, Page(5), order) == await database.read(per_owner, Page(5), order)


async def test_child_counts_are_batched(database: Database, published: PublishedFlow) -> None:
    await database.write(add_family, published)
    assert await database.read(run_reads.counts_by, OWNERS, "parent_run_id") == {
        OWNERS[0]: 20,
        OWNERS[1]: 19,
        OWNERS[2]: 1,
    }
    assert await database.read(run_reads.counts_by, [], "parent_run_id") == {}


def beyond_each(conn: Connection, order: RunOrder) -> tuple[dict[Any, bool], dict[Any, bool]]:
    """Returns whether children follow each child, read in one batch and one by one."""
    rows = run_reads.pages_by(conn, OWNERS, "parent_run_id", (), order, Page(COUNT))
    positions = [Position(0, key_of(5)), position(rows[OWNERS[0]][0], order), position(rows[OWNERS[1]][-1], order)]
    edges = [Edge(at, before, inclusive) for at in positions for before in (True, False) for inclusive in (True, False)]
    asked = list(itertools.product(OWNERS, edges))
    found = run_reads.owners_with_more(conn, asked, "parent_run_id", order)
    alone = {}
    for owner, edge in asked:
        where = RunFilter(parent_run_id=owner, archived=Archived.INCLUDE)
        if run_reads.has_more(conn, where, order, edge):
            alone[owner, edge] = True
    return dict(found), alone


async def test_has_more_is_batched_over_owners(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [
        run(number) | {"parent_run_id": OWNERS[number % 2]} for number in range(8)
    ])  # fmt: skip
    for order in ORDERS:
        found, alone = await database.read(beyond_each, order)
        assert found == alone
        assert found
    assert await database.read(run_reads.owners_with_more, [], "parent_run_id", RunOrder()) == {}


async def test_a_thousand_owners_fit_in_one_read(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [{"parent_run_id": OWNERS[0]}])
    edge = Edge(Position(0, factory.uuid_at(START - SECOND)), before=False)
    asked = [(factory.uuid_at(START, number), edge) for number in range(1_000)]
    order = RunOrder(descending=False)
    found = await database.read(run_reads.owners_with_more, asked, "parent_run_id", order)
    assert found == {(OWNERS[0], edge): True}


async def test_page_has_requested_columns_and_sort_column(filled: Database) -> None:
    selections: list[tuple[str, ...]] = [(), ("status", "metadata", "tags"), ("id", "started_at")]
    for order, columns in itertools.product(ORDERS, selections):
        rows: Sequence[Any] = await filled.read(run_reads.page, columns, ALL, order, Page(1))
        (row,) = rows
        column = run_reads.SORT_COLUMNS[order.field]
        assert set(row._fields) == {"id", *columns, *([column] if column else [])}


def add_flows(uow: UnitOfWork, published: PublishedFlow) -> list[UUID]:
    return [flows.create(uow, published.project_id, f"flow {number}") for number in range(10)]


def walk_flows(conn: Connection, where: FlowFilter, *, backward: bool) -> list[list[UUID]]:
    pages: list[list[UUID]] = []
    edge: Position | None = None
    while True:
        page = Page(3, before=edge, backward=True) if backward else Page(3, after=edge)
        rows = flows.LISTING.page(conn, {"name"}, where, page)
        if not rows:
            return pages
        pages.append([row.id for row in rows])
        edge = Position(0, (rows[0] if backward else rows[-1]).id)


async def test_flows_page_newest_first_in_both_directions(database: Database, published: PublishedFlow) -> None:
    expected = (await database.write(add_flows, published))[::-1]
    where = FlowFilter(name_contains="flow ")
    forward = await database.read(walk_flows, where, backward=False)
    backward = await database.read(walk_flows, where, backward=True)
    assert list(itertools.chain(*forward)) == list(itertools.chain(*reversed(backward))) == expected
    edges = [Edge(Position(0, expected[index]), before) for index in (0, -1) for before in (True, False)]
    found = [await database.read(flows.LISTING.has_more, where, edge) for edge in edges]
    assert found == [False, True, True, False]


@pytest.mark.parametrize(
    ("where", "order", "is_planned"),
    [
        (RunFilter(), RunOrder(), False),
        (RunFilter(archived=Archived.EXCLUDE), RunOrder(RunOrderField.DURATION), False),
        (RunFilter(flow_ids=[uuid4()]), RunOrder(), False),
        (RunFilter(flow_ids=[uuid4()]), RunOrder(RunOrderField.DURATION), True),
        (RunFilter(ids=[uuid4()], tags=["a"]), RunOrder(RunOrderField.DURATION), False),
        (RunFilter(tags=["a"]), RunOrder(), True),
        (RunFilter(archived=Archived.ONLY), RunOrder(), True),
        (RunFilter(finished_after=START), RunOrder(), True),
    ],
)
def test_pages_by_uneven_values_are_planned_with_them(where: RunFilter, order: RunOrder, is_planned: bool) -> None:
    for dialect in ("postgresql", "sqlite"):
        selected = RowTexts("flow_run", [Object([("id", Literal("1"))])], dialect)
        text, _ = texts.page(selected, where, order, Page(3), {}, placed=False)
        assert text.startswith(PLANNED_WITH_VALUES) is (is_planned and dialect == "postgresql")
