"""Helpers of the tests of streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.service.streams.test_socket import connect, receive, subscribe
from tests.support.app import PATIENCE
from tests.support.processes.server import AppServer

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}


WATCH = """subscription($after: String, $filter: FlowRunFilter) {
    event: flowRunStatusChanged(after: $after, filter: $filter) {
        __typename ... on FlowRunStatusChanged { cursor runId status matches %s } ... on CaughtUp { cursor }
        ... on FlowRunUpdated { cursor runId kind matches run { archivedAt } } } }"""


PLAIN = WATCH % ""


@asynccontextmanager
async def let_in(server: AppServer, key: str | None = None) -> AsyncIterator[ClientConnection]:
    shown = {"Authorization": f"Bearer {key or server.app.keys.admin}"}
    async with connect(server, shown) as socket:
        assert await receive(socket) == {"type": "connection_ack"}
        yield socket


async def next_event(socket: ClientConnection, name: str = "1") -> Any:
    async with asyncio.timeout(PATIENCE):
        message = await receive(socket)
    assert (message["id"], message["type"]) == (name, "next"), message
    return message["payload"]["data"]["event"]


async def subscribed(stack: AsyncExitStack, server: AppServer, query: str, **more: Any) -> ClientConnection:
    """A client that has caught up."""
    socket = await stack.enter_async_context(let_in(server, more.pop("key", None)))
    await subscribe(socket, query, **more)
    assert (await next_event(socket))["__typename"] == "CaughtUp"
    return socket
