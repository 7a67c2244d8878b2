"""Relay connections: every page of every order in both directions is compared with the whole list."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from domain import ids
from domain.enums import RunStatus
from domain.time import clock
from tests.support import factory
from tests.support.app import App, statements
from tests.support.factory import PublishedFlow, encode_run_id
from tests.support.run_family import make_flow, make_runs

ORDERS = list(product(["CREATED_AT", "STARTED_AT", "FINISHED_AT", "DURATION", "UPDATED_AT"], ["ASC", "DESC"]))
DAY = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = """query($first: Int, $after: String, $last: Int, $before: String, $order: FlowRunOrder) {
    page: flowRuns(first: $first, after: $after, last: $last, before: $before, orderBy: $order) {
        edges { cursor node { id } } nodes { id }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


@dataclass(frozen=True)
class Page:
    ids: list[str]
    cursors: list[str]
    info: dict[str, Any]


async def get(app: App, **variables: Any) -> Page:
    found = (await app.query(PAGE, variables))["page"]
    edges = found["edges"]
    page = Page([edge["node"]["id"] for edge in edges], [edge["cursor"] for edge in edges], found["pageInfo"])
    assert [node["id"] for node in found["nodes"]] == page.ids
    assert page.info["startCursor"] == (page.cursors[0] if edges else None)
    assert page.info["endCursor"] == (page.cursors[-1] if edges else None)
    return page


def neighbours(page: Page) -> tuple[bool, bool]:
    return page.info["hasPreviousPage"], page.info["hasNextPage"]


async def add_seven(app: App) -> None:
    """Runs with equal and with missing times and durations."""
    published = await make_flow(app)
    at = clock.now()
    done = {"status": RunStatus.FAILED, "started_at": at, "finished_at": at, "duration_ms": 5}
    later = {**done, "finished_at": at + timedelta(seconds=1), "duration_ms": 1_000}
    live = {"status": RunStatus.RUNNING, "started_at": at}
    await make_runs(app, published, {}, done, later, done, {}, live, later)


@pytest.mark.parametrize(("name", "direction"), ORDERS)
async def test_pages_of_every_order_are_slices_of_the_whole_list(idle_app: App, name: str, direction: str) -> None:
    await add_seven(idle_app)
    order = {"field": name, "direction": direction}
    whole = await get(idle_app, order=order)
    assert len(set(whole.ids)) == 7
    assert neighbours(whole) == (False, False)
    for index in range(7):
        after = await get(idle_app, order=order, first=2, after=whole.cursors[index])
        assert after.ids == whole.ids[index + 1 : index + 3]
        assert neighbours(after) == (True, index + 3 < 7)
        before = await get(idle_app, order=order, last=2, before=whole.cursors[index])
        assert before.ids == whole.ids[max(index - 2, 0) : index]
        assert neighbours(before) == (index > 2, True)


async def test_order_is_by_field_then_id_with_null_lowest(idle_app: App) -> None:
    published = await make_flow(idle_app)
    soon, late = DAY + timedelta(seconds=1), DAY + timedelta(seconds=2)
    rows = [("c", late, 9), ("a", soon, 7), ("b", soon, 7), ("none", None, None)]
    keys = await make_runs(
        idle_app,
        published,
        *(
            {"source": word, "started_at": at, "finished_at": at, "duration_ms": ms, "updated_at": at or DAY}
            for word, at, ms in rows
        ),
    )
    assert keys == sorted(keys)
    text = "query($order: FlowRunOrder) { flowRuns(orderBy: $order) { nodes { source } } }"
    for name, direction in ORDERS:
        found = await idle_app.query(text, {"order": {"field": name, "direction": direction}})
        expected = ["c", "a", "b", "none"] if name == "CREATED_AT" else ["none", "a", "b", "c"]
        words = [node["source"] for node in found["flowRuns"]["nodes"]]
        assert (words if direction == "ASC" else words[::-1]) == expected


async def test_default_order_is_newest_first(idle_app: App) -> None:
    keys = await make_runs(idle_app, await make_flow(idle_app), {}, {}, {})
    assert (await get(idle_app)).ids == keys[::-1]


async def test_range_between_two_cursors_pages_from_both_ends(idle_app: App) -> None:
    await add_seven(idle_app)
    whole = await get(idle_app)
    bounds = {"after": whole.cursors[0], "before": whole.cursors[6]}
    inside = await get(idle_app, **bounds)
    assert (inside.ids, neighbours(inside)) == (whole.ids[1:6], (True, True))
    start = await get(idle_app, first=2, **bounds)
    assert (start.ids, neighbours(start)) == (whole.ids[1:3], (True, True))
    end = await get(idle_app, last=2, **bounds)
    assert (end.ids, neighbours(end)) == (whole.ids[4:6], (True, True))


async def test_empty_page_reports_neighbours(idle_app: App) -> None:
    await add_seven(idle_app)
    whole = await get(idle_app)
    first, last = whole.cursors[0], whole.cursors[-1]
    expected: list[tuple[dict[str, Any], tuple[bool, bool]]] = [
        ({"after": last}, (True, False)),
        ({"before": first}, (False, True)),
        ({"last": 3, "before": first}, (False, True)),
        ({"after": first, "before": first}, (True, True)),
        ({"after": last, "before": first}, (True, True)),
    ]
    for arguments, around in expected:
        page = await get(idle_app, **arguments)
        assert (page.ids, neighbours(page)) == ([], around), arguments


async def test_empty_list_has_an_empty_page(idle_app: App) -> None:
    page = await get(idle_app)
    assert (page.ids, neighbours(page)) == ([], (False, False))


async def test_page_that_ends_at_the_last_row_has_no_next_page(idle_app: App) -> None:
    await add_seven(idle_app)
    assert neighbours(await get(idle_app, first=7)) == (False, False)
    assert neighbours(await get(idle_app, last=7)) == (False, False)
    assert neighbours(await get(idle_app, first=6)) == (False, True)
    assert neighbours(await get(idle_app, last=6)) == (True, False)


async def test_page_of_size_zero_has_a_count_and_neighbours(idle_app: App) -> None:
    await add_seven(idle_app)
    cursor = (await get(idle_app)).cursors[3]
    expected: list[tuple[dict[str, Any], tuple[bool, bool]]] = [
        ({"first": 0}, (False, True)),
        ({"last": 0}, (True, False)),
        ({"first": 0, "after": cursor}, (True, True)),
        ({"last": 0, "before": cursor}, (True, True)),
    ]
    for arguments, around in expected:
        page = await get(idle_app, **arguments)
        assert (page.ids, neighbours(page)) == ([], around), arguments
    with statements() as executed:
        found = await idle_app.query("{ flowRuns(first: 0) { totalCount nodes { id } edges { cursor } } }")
    assert found["flowRuns"] == {"totalCount": 7, "nodes": [], "edges": []}
    # The count alone: no page is read.
    assert len([text for text in executed.texts if "FROM flow_run" in text]) == 1


async def test_cursor_of_another_order_is_refused(idle_app: App) -> None:
    await add_seven(idle_app)
    for name, direction in ORDERS:
        cursor = (await get(idle_app, order={"field": name, "direction": direction})).cursors[0]
        for other in ORDERS:
            order = {"field": other[0], "direction": other[1]}
            body = await idle_app.execute(PAGE, {"after": cursor, "order": order})
            assert ("errors" in body) == (other != (name, direction))
            if "errors" in body:
                assert body["errors"][0]["extensions"]["code"] == "INVALID_CURSOR"


async def test_invalid_cursor_is_refused(idle_app: App) -> None:
    for cursor in ("", "x", "AQAA", "é", "\0", "=" * 38, "A" * 39, "A" * 100_000):
        for name in ("after", "before"):
            assert await idle_app.error_code(PAGE, {name: cursor}) == "INVALID_CURSOR"


SIZES = [{"first": -1}, {"first": 5_000}, {"last": -1}, {"last": 1_001}, {"first": 1, "last": 1}]


async def test_page_sizes_out_of_range_are_refused(idle_app: App) -> None:
    for sizes in SIZES:
        assert await idle_app.error_code(PAGE, sizes) == "INVALID_ARGUMENT"


async def test_total_count_covers_all_pages_and_stops_at_limit(idle_app: App) -> None:
    await add_seven(idle_app)
    text = "query($limit: Int) { flowRuns(first: 2) { totalCount(limit: $limit) } }"
    for limit, expected in [(None, 7), (3, 3), (7, 7), (100, 7), (2**31 - 1, 7)]:
        assert (await idle_app.query(text, {"limit": limit}))["flowRuns"]["totalCount"] == expected
    for limit in (0, -1):
        assert await idle_app.error_code(text, {"limit": limit}) == "INVALID_ARGUMENT"


async def test_children_are_paged_per_parent(idle_app: App) -> None:
    published = await make_flow(idle_app)
    parents = [ids.new_uuid(), ids.new_uuid()]
    await make_runs(idle_app, published, *({"id": parent} for parent in parents))
    children = [await make_runs(idle_app, published, *[{"parent_run_id": parent}] * 3) for parent in parents]
    text = """query($ids: [ID!], $first: Int, $last: Int, $after: String) { flowRuns(
        filter: {ids: $ids}, orderBy: {direction: ASC}) { nodes {
        childRuns(first: $first, last: $last, after: $after) {
            totalCount capped: totalCount(limit: 2)
            nodes { id } pageInfo { hasNextPage hasPreviousPage endCursor } } } } }"""
    parent_ids = [encode_run_id(parent) for parent in parents]

    async def pages(**arguments: Any) -> list[Any]:
        found = await idle_app.query(text, {"ids": parent_ids, **arguments})
        return [node["childRuns"] for node in found["flowRuns"]["nodes"]]

    for owned, page in zip(children, await pages(first=2), strict=True):
        assert [node["id"] for node in page["nodes"]] == owned[:2]
        assert (page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"]) == (False, True)
        assert (page["totalCount"], page["capped"]) == (3, 2)
    for owned, page in zip(children, await pages(last=2), strict=True):
        assert [node["id"] for node in page["nodes"]] == owned[1:]
        assert (page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"]) == (True, False)
    end = (await pages(first=2))[0]["pageInfo"]["endCursor"]
    rest, others = await pages(after=end)
    assert [node["id"] for node in rest["nodes"]] == children[0][2:]
    assert rest["pageInfo"]["hasPreviousPage"]
    assert [node["id"] for node in others["nodes"]] == children[1]
    assert not others["pageInfo"]["hasPreviousPage"]


async def test_flows_are_paged_with_their_own_cursors(idle_app: App) -> None:
    for number in range(5):
        await make_flow(idle_app, f"flow {number}")
    text = """query($first: Int, $after: String, $last: Int, $before: String) { flows(
        first: $first, after: $after, last: $last, before: $before) {
        nodes { name } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }"""

    async def page(**arguments: Any) -> tuple[list[str], bool, bool, dict[str, Any]]:
        found = (await idle_app.query(text, arguments))["flows"]
        info = found["pageInfo"]
        names = [node["name"][-1] for node in found["nodes"]]
        assert found["totalCount"] == 5
        return names, info["hasPreviousPage"], info["hasNextPage"], info

    assert (await page(first=2))[:3] == (["4", "3"], False, True)
    assert (await page(last=2))[:3] == (["1", "0"], True, False)
    end = (await page(first=2))[3]["endCursor"]
    assert (await page(first=2, after=end))[:3] == (["2", "1"], True, True)
    assert (await page(last=2, before=end))[:3] == (["4"], False, True)
    assert await idle_app.error_code(PAGE, {"after": end}) == "INVALID_CURSOR"


@dataclass
class Pager:
    """Pages through all runs while new ones start."""

    app: App
    published: PublishedFlow
    seen: list[str] = field(default_factory=list)

    async def go(self, size: str, cursor_from: str, cursor_to: str, more: str) -> None:
        cursor = None
        while True:
            page = await get(self.app, **{size: 500, cursor_to: cursor})
            self.seen += page.ids
            if not page.info[more]:
                return
            cursor = page.info[cursor_from]
            await self.app.database.write(factory.make_runs, self.published, [{} for _ in range(20)])


async def test_paging_ten_thousand_runs_during_inserts_sees_each_once(idle_app: App) -> None:
    published = await make_flow(idle_app)
    keys = await idle_app.database.write(factory.make_runs, published, [{} for _ in range(10_000)])
    old = {encode_run_id(key) for key in keys}

    forward = Pager(idle_app, published)
    await forward.go("first", "endCursor", "after", "hasNextPage")
    assert len(forward.seen) == len(set(forward.seen))
    assert old == set(forward.seen)

    backward = Pager(idle_app, published)
    await backward.go("last", "startCursor", "before", "hasPreviousPage")
    assert len(backward.seen) == len(set(backward.seen))
    assert old <= set(backward.seen)
