"""Subscriptions over `graphql-transport-ws`, by a real client on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.support.app import PATIENCE
from tests.support.processes.server import Server, run_server

WATCH = """subscription($after: String, $filter: FlowRunFilter) {
    flowRunStatusChanged(after: $after, filter: $filter) {
        __typename
        ... on FlowRunStatusChanged { cursor runId status change { from to } run { id flow { name } } }
        ... on CaughtUp { cursor } } }"""
START = """mutation($flow: ID!) { startRun(input: {flowId: $flow}) { ... on StartRunSuccess { run { id } } } }"""


@asynccontextmanager
async def connect(
    server: Server, params: dict[str, Any] | None = None, **headers: str
) -> AsyncIterator[ClientConnection]:
    url = server.url.replace("http", "ws") + "/graphql"
    # A test may leave a socket unread for longer than the client waits for the answer to a ping.
    async with websockets.connect(
        url, subprotocols=[Subprotocol("graphql-transport-ws")], additional_headers=headers, ping_interval=None
    ) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": params or {}}))
        yield socket


@asynccontextmanager
async def signed_in(server: Server) -> AsyncIterator[ClientConnection]:
    async with connect(server, {"Authorization": f"Bearer {server.admin_key}"}) as socket:
        assert await receive(socket) == {"type": "connection_ack"}
        yield socket


async def receive(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


async def subscribe(socket: ClientConnection, query: str, name: str = "1", **variables: Any) -> None:
    message = {"id": name, "type": "subscribe", "payload": {"query": query, "variables": variables}}
    await socket.send(json.dumps(message, ensure_ascii=False))


async def answer(socket: ClientConnection, query: str, **variables: Any) -> Any:
    """The one result of a query or mutation on a socket."""
    await subscribe(socket, query, "once", **variables)
    result = await receive(socket)
    assert await receive(socket) == {"id": "once", "type": "complete"}
    return result["payload"]["data"]


async def next_event(socket: ClientConnection) -> Any:
    return (await receive(socket))["payload"]["data"]["flowRunStatusChanged"]


async def start(server: Server) -> str:
    async with signed_in(server) as socket:
        flows = (await answer(socket, '{ flows(filter: {nameContains: "hello"}) { nodes { id } } }'))["flows"]["nodes"]
        run = (await answer(socket, START, flow=flows[0]["id"]))["startRun"]["run"]
        return str(run["id"])


async def test_events_arrive_in_order(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH)
        assert (await next_event(socket))["__typename"] == "CaughtUp"
        run_id = await start(server)
        events = [await next_event(socket) for _ in range(3)]
        assert {event["runId"] for event in events} == {run_id}
        assert [event["status"] for event in events] == ["QUEUED", "RUNNING", "SUCCEEDED"]
        assert [event["change"]["from"] for event in events] == [None, "QUEUED", "RUNNING"]
        assert {event["run"]["flow"]["name"] for event in events} == {"hello"}


async def test_disconnected_client_gets_missed_events(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH)
        await next_event(socket)
        first_id = await start(server)
        first = await next_event(socket)
    second_id = await start(server)
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH, after=first["cursor"])
        # Later events come after CaughtUp, and both runs are live at the same time.
        received = [
            event for event in [await next_event(socket) for _ in range(6)] if event["__typename"] != "CaughtUp"
        ]
    of_run = {
        run_id: [each["status"] for each in received if each["runId"] == run_id] for run_id in (first_id, second_id)
    }
    assert of_run == {first_id: ["RUNNING", "SUCCEEDED"], second_id: ["QUEUED", "RUNNING", "SUCCEEDED"]}


async def test_the_filter_of_lists_is_that_of_the_stream(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH, filter={"statuses": ["SUCCEEDED"]})
        await next_event(socket)
        await start(server)
        event = await next_event(socket)
        while event["status"] != "SUCCEEDED":
            event = await next_event(socket)
        assert event["run"]["flow"]["name"] == "hello"


async def test_errors_have_codes_on_a_socket_too(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH, after="damaged")
        message = await receive(socket)
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert errors[0]["extensions"]["code"] == "INVALID_CURSOR"


async def test_the_cookie_of_the_explorer_opens_a_socket(server: Server) -> None:
    async with connect(server, Cookie=f"flow_runs_session={server.admin_key}") as socket:
        assert await receive(socket) == {"type": "connection_ack"}


@pytest.mark.parametrize("params", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": 5}])
async def test_a_socket_without_a_key_is_closed(server: Server, params: dict[str, Any]) -> None:
    async with connect(server, params) as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4403


async def close_code(socket: ClientConnection) -> int:
    """The code with which the service closes the socket, whatever it says before."""

    async def read_on() -> None:
        while True:
            await socket.recv()

    with pytest.raises(websockets.ConnectionClosed) as closed:
        await asyncio.wait_for(read_on(), PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        b"{}",
        "[]",
        "1",
        "{}",
        {"type": "unknown"},
        {"type": 1},
        {"type": "connection_init", "payload": []},
        {"type": "subscribe"},
        {"type": "subscribe", "id": 1, "payload": {"query": "{ viewer { role } }"}},
        {"type": "subscribe", "id": "", "payload": {"query": "{ viewer { role } }"}},
        {"type": "subscribe", "id": "1", "payload": None},
        {"type": "subscribe", "id": "1", "payload": {"query": None}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { role } }", "variables": []}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { role } }", "operationName": 1}},
        {"type": "complete"},
    ],
    ids=str,
)
async def test_invalid_message_closes_the_socket(server: Server, message: Any) -> None:
    async with signed_in(server) as socket:
        await socket.send(json.dumps(message) if isinstance(message, dict) else message)
        assert await close_code(socket) == 4400


async def test_subscription_before_connection_init_closes_the_socket(server: Server) -> None:
    url = server.url.replace("http", "ws") + "/graphql"
    async with websockets.connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await subscribe(socket, WATCH)
        assert await close_code(socket) == 4401


async def test_two_operations_under_one_id_close_the_socket(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH)
        await next_event(socket)
        await subscribe(socket, WATCH)
        assert await close_code(socket) == 4409


async def test_two_initialisations_close_the_socket(server: Server) -> None:
    async with signed_in(server) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        assert await close_code(socket) == 4429


async def test_pings_are_answered_at_any_time(server: Server) -> None:
    async with signed_in(server) as socket:
        await socket.send(json.dumps({"type": "ping", "payload": {"a": 1}}))
        assert await receive(socket) == {"type": "pong"}
        await socket.send(json.dumps({"type": "pong"}))
        await subscribe(socket, WATCH)
        assert (await next_event(socket))["__typename"] == "CaughtUp"


async def test_completed_subscription_ends_and_its_id_can_be_used_again(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH)
        await next_event(socket)
        await socket.send(json.dumps({"id": "1", "type": "complete"}))
        await subscribe(socket, WATCH)
        assert (await next_event(socket))["__typename"] == "CaughtUp"


@pytest.mark.parametrize(
    "document",
    [
        "subscription {",
        "subscription { nothing }",
        "query A { __typename } query B { __typename }",
        "fragment A on Query { __typename }",
        "",
    ],
)
async def test_a_document_at_fault_ends_its_operation_alone(server: Server, document: str) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, document, "bad")
        message = await receive(socket)
        assert (message["id"], message["type"]) == ("bad", "error")
        assert message["payload"][0]["extensions"]["code"] == "BAD_REQUEST"
        assert (await answer(socket, "{ viewer { role } }"))["viewer"]["role"] == "ADMIN"


async def test_errors_of_a_query_are_sent_with_its_data(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, '{ viewer { role } flowRun(id: "nonsense") { id } }', "q")
        message = await receive(socket)
        assert (message["id"], message["type"]) == ("q", "next")
        assert message["payload"]["data"] == {"viewer": {"role": "ADMIN"}, "flowRun": None}
        assert message["payload"]["errors"][0]["extensions"]["code"] == "INVALID_ID"


async def test_messages_are_text(server: Server) -> None:
    async with signed_in(server) as socket:
        await subscribe(socket, WATCH)
        assert isinstance(await socket.recv(), str)
        assert not socket.protocol.extensions  # deflate costs 40 KiB a connection


async def test_the_older_protocol_is_not_spoken(server: Server) -> None:
    url = server.url.replace("http", "ws") + "/graphql"
    async with websockets.connect(url, subprotocols=[Subprotocol("graphql-ws")]) as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4406
        assert "graphql-transport-ws" in closed.value.rcvd.reason


async def test_wrong_key_is_wrong_beside_a_good_cookie(server: Server) -> None:
    cookie = f"flow_runs_session={server.admin_key}"
    async with connect(server, {"Authorization": "Bearer wrong"}, Cookie=cookie) as socket:
        assert await close_code(socket) == 4403
    async with connect(server, {"client": "x"}, Cookie=cookie) as socket:
        assert await receive(socket) == {"type": "connection_ack"}


async def test_blank_operation_name_is_absent(server: Server) -> None:
    payload = {"query": "{ viewer { role } }", "operationName": ""}
    async with signed_in(server) as socket:
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        assert (await receive(socket))["payload"] == {"data": {"viewer": {"role": "ADMIN"}}}


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_message_obeys_the_limit_of_request_bodies(database_url: str) -> None:
    async with run_server(database_url, max_body_bytes=10_000) as server:
        for character in ("a", "é"):
            async with signed_in(server) as socket:
                comment = character * (9_000 // len(character.encode()))
                data = await answer(socket, f"#{comment}\n{{ viewer {{ role }} }}")
                assert data == {"viewer": {"role": "ADMIN"}}
                await subscribe(socket, f"#{comment * 2}\n{{ viewer {{ role }} }}")
                assert await close_code(socket) == 1009


PROGRESS = """subscription($id: ID!, $after: String) { bulkOperationProgressed(id: $id, after: $after) {
    cursor operationId counts { status matched processed succeeded skipped failed } operation { id status kind } } }"""


async def test_bulk_operation_is_followed_to_its_end(server: Server) -> None:
    await start(server)
    archive = """mutation { bulkArchive(filter: {createdAfter: "2000-01-01"}) {
        ... on BulkOperationSuccess { operation { id status } } } }"""
    async with signed_in(server) as socket:
        operation = (await answer(socket, archive))["bulkArchive"]["operation"]
        await subscribe(socket, PROGRESS, id=operation["id"])
        event = (await receive(socket))["payload"]["data"]["bulkOperationProgressed"]
        assert event["operationId"] == operation["id"]
        assert event["counts"]["status"] == event["operation"]["status"] == "COMPLETED"
        assert event["counts"]["matched"] == event["counts"]["processed"] == 1
        assert await receive(socket) == {"id": "1", "type": "complete"}
        await subscribe(socket, PROGRESS, name="2", id=operation["id"], after=event["cursor"])
        assert await receive(socket) == {"id": "2", "type": "complete"}
