"""Equal selections are rendered once for all subscribers."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from websockets.asyncio.client import ClientConnection

from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun
from db.models.types import table
from db.runs import reads as run_reads
from domain import ids
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.time import clock
from service.streams import subscription_rendering
from tests.service.streams.rendering.harness import ECHO, PLAIN, WATCH, let_in, next_event, subscribed
from tests.service.streams.test_socket import receive, subscribe
from tests.support.app import PATIENCE, statements
from tests.support.processes.server import AppServer, run_server

NESTED = WATCH % "run { id flow { name project { name } } steps { name } }"


async def test_equal_selections_of_many_subscribers_read_each_row_once(server: AppServer) -> None:
    flow = await server.app.create_flow(ECHO)
    # One selects the same by another document. It shares the reads too.
    others = NESTED.replace("flow { name", "ofFlow: flow { name")
    async with AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, NESTED) for _ in range(9)]
        clients.append(await subscribed(stack, server, others))
        clients.append(await subscribed(stack, server, NESTED, filter={"flowIds": [flow]}))
        clients.append(await subscribed(stack, server, NESTED, key=server.app.keys.all_projects))
        with statements() as found:
            run = await server.app.start(flow)
            results = [await next_event(client) for client in clients]
    assert {each["runId"] for each in results} == {run["run"]["id"]}
    assert all(one == results[0] for one in results[:9])
    assert results[9]["run"]["ofFlow"] == results[0]["run"]["flow"]
    reads = [text for text in found.texts if text.startswith("SELECT")]
    for source in ("FROM step_result", "FROM project"):
        # The mutation reads the project too.
        assert sum(source in text for text in reads) <= 2, [text for text in reads if source in text]


async def test_subscriber_receives_no_events_of_another_project(server: AppServer) -> None:
    keys = server.app.keys
    mine = await server.app.create_flow(ECHO)
    theirs = await server.app.create_flow(ECHO, key=keys.other_admin)
    async with AsyncExitStack() as stack:
        own = await subscribed(stack, server, NESTED)
        viewer = await subscribed(stack, server, NESTED, key=keys.viewer)
        other = await subscribed(stack, server, NESTED, key=keys.other_viewer)
        everybody = await subscribed(stack, server, NESTED, key=keys.all_projects)
        foreign = await subscribed(stack, server, NESTED, filter={"projectIds": [server.app.other_project]})
        first = (await server.app.start(theirs, key=keys.other_operator))["run"]["id"]
        second = (await server.app.start(mine))["run"]["id"]
        assert [(await next_event(client))["runId"] for client in (own, viewer, other)] == [second, second, first]
        assert {(await next_event(everybody))["runId"], (await next_event(everybody))["runId"]} == {first, second}
        # If `foreign` received an event, it would be one of these, before this answer.
        await subscribe(foreign, "{ viewer { role } }", "2")
        assert (await receive(foreign))["id"] == "2"


async def test_renderings_differ_by_variables_of_the_selection_and_not_by_cursors(server: AppServer) -> None:
    query = """subscription($after: String, $full: Boolean!) { event: flowRunStatusChanged(after: $after)
        { __typename ... on FlowRunStatusChanged { cursor runId @include(if: $full) } } }"""
    flow = await server.app.create_flow(ECHO)
    async with AsyncExitStack() as stack:
        full = await subscribed(stack, server, query, full=True)
        short = await subscribed(stack, server, query, full=False)
        cursor = (await next_event_after(server, short, flow))["cursor"]
        await next_event(full)
        late = await subscribed(stack, server, query, full=False, after=cursor)
        renderers = server.endpoint.streams._renderers
        assert len(renderers) == 2
        results = await next_event_after(server, late, flow)
        assert (results, await next_event(short)) == (results, results)
        assert set(results) == {"__typename", "cursor"}
        assert set(await next_event(full)) == {"__typename", "cursor", "runId"}


async def next_event_after(server: AppServer, client: ClientConnection, flow: str) -> Any:
    await server.app.start(flow)
    return await next_event(client)


async def test_run_that_leaves_the_filter_is_delivered_and_does_not_match(database_url: str) -> None:
    async with run_server(database_url, with_worker=True) as server, AsyncExitStack() as stack:
        flow = await server.app.create_flow(ECHO)
        running = await subscribed(stack, server, PLAIN, filter={"statuses": ["RUNNING"]})
        queued = await subscribed(stack, server, NESTED, filter={"statuses": ["QUEUED"]})
        await server.app.start(flow)
        results = [await next_event(running) for _ in range(2)]
        assert [(each["status"], each["matches"]) for each in results] == [("RUNNING", True), ("SUCCEEDED", False)]
        results = [await next_event(queued) for _ in range(2)]
        assert [(each["status"], each["matches"]) for each in results] == [("QUEUED", True), ("RUNNING", False)]


def archive(uow: UnitOfWork, key: UUID) -> None:
    (row,) = run_reads.by_ids(uow.conn, [key], {"flow_id"}).values()
    now = clock.now()
    uow.conn.execute(update(table(FlowRun)).where(table(FlowRun).c.id == key).values(archived_at=now))
    event = {"run_id": key, "project_id": row.project_id, "flow_id": row.flow_id, "kind": event_log.RUN_ARCHIVED}
    event_log.append(uow, [{**event, "message": "Archived", "at": now}])


async def test_other_changes_of_runs_are_delivered_in_the_same_stream(server: AppServer) -> None:
    flow = await server.app.create_flow(ECHO)
    async with AsyncExitStack() as stack:
        lists = [await subscribed(stack, server, PLAIN, filter={"archived": how}) for how in ("EXCLUDE", "ONLY")]
        run_id = (await server.app.start(flow))["run"]["id"]
        assert (await next_event(lists[0]))["matches"] is True
        await server.app.database.write(archive, ids.decode(IdKind.RUN, run_id))
        for client, matches in zip(lists, (False, True), strict=True):
            results = await next_event(client)
            assert results["__typename"] == "FlowRunUpdated"
            assert (results["runId"], results["kind"], results["matches"]) == (run_id, "ARCHIVED", matches)
            assert results["run"]["archivedAt"] is not None


async def test_event_is_not_delivered_without_its_selected_fields(
    server: AppServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database becomes unavailable between the event and the fields of its run."""
    monkeypatch.setattr(subscription_rendering, "RETRY_SECONDS", 0.0)
    read, failures = server.app.database.read, 0

    async def fails_thrice(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        if query is run_reads.steps_by_runs and failures < 3:
            failures += 1
            raise DatabaseUnavailableError
        return await read(query, *args, **kwargs)

    flow = await server.app.create_flow(ECHO)
    async with AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, NESTED) for _ in range(2)]
        monkeypatch.setattr(server.app.database, "read", fails_thrice)
        await server.app.start(flow)
        results = [await next_event(client) for client in clients]
        assert results[0] == results[1]
        assert results[0]["run"]["flow"]["name"] == "flow"
    assert failures == 3


def with_a_bad_one(uow: UnitOfWork, run_id: str) -> None:
    """Append three events that are read together. The second has a status that does not exist."""
    (row,) = run_reads.by_ids(uow.conn, [ids.decode(IdKind.RUN, run_id)], {"flow_id"}).values()
    event = {"run_id": row.id, "project_id": row.project_id, "flow_id": row.flow_id, "kind": event_log.RUN_STATUS}
    change = {"from_status": "QUEUED", "message": "Changed", "at": clock.now()}
    event_log.append(uow, [{**event, **change, "to_status": status} for status in ("RUNNING", "MELTED", "PAUSED")])


@pytest.mark.parametrize("query", [PLAIN, NESTED], ids=["plain", "nested"])
async def test_event_that_cannot_be_rendered_is_an_error_in_its_position_alone(server: AppServer, query: str) -> None:
    async def results(client: ClientConnection) -> list[str]:
        """Return the statuses of the next events, and of an event with an error the path of that."""
        found = []
        for _ in range(3):
            payload = (await receive(client))["payload"]
            found.append(
                payload["data"]["event"]["status"] if "errors" not in payload else payload["errors"][0]["path"]
            )
        return found

    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, query) for _ in range(3)]
        blind = await subscribed(stack, server, query.replace("status", "__typename"))
        run_id = (await server.app.start(await server.app.create_flow(ECHO)))["run"]["id"]
        started = [await next_event(client) for client in (*clients, blind)]
        await server.app.database.write(with_a_bad_one, run_id)
        expected = ["RUNNING", ["event", "status"], "PAUSED"]
        for client in clients:
            assert await results(client) == expected
        assert [(await next_event(blind))["runId"] for _ in range(3)] == [run_id] * 3
        late = await stack.enter_async_context(let_in(server))
        await subscribe(late, query, after=started[0]["cursor"])
        assert await results(late) == expected
        assert (await next_event(late))["__typename"] == "CaughtUp"
        # All subscriptions continue.
        other = (await server.app.start(await server.app.create_flow(ECHO, name="other")))["run"]["id"]
        assert {(await next_event(client))["runId"] for client in (*clients, blind, late)} == {other}
