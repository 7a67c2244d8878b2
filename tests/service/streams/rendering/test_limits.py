"""Subscriptions of revoked keys, and limits of keys."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
import websockets
from websockets.typing import Subprotocol

from db import api_keys
from domain.enums import Role
from tests.service.streams.rendering.harness import ECHO, PLAIN, let_in, next_event, subscribed
from tests.service.streams.test_socket import close_code, connect, receive, subscribe
from tests.support.app import PATIENCE, statements
from tests.support.processes.server import AppServer, run_server


async def test_subscriptions_of_revoked_key_end(server: AppServer) -> None:
    secret = await server.app.database.write(
        lambda uow: api_keys.create(uow, project_id=None, role=Role.VIEWER, name="to be revoked")
    )
    async with AsyncExitStack() as stack:
        clients = [await subscribed(stack, server, PLAIN, key=secret) for _ in range(3)]
        other = await subscribed(stack, server, PLAIN)
        await server.endpoint.connections._close_revoked()
        row = await server.app.database.read(api_keys.by_secret, secret)
        assert row is not None
        await server.app.database.write(api_keys.revoke, row.id)
        with statements() as found:
            await server.endpoint.connections._close_revoked()
        # The tailer may read the log at this moment.
        assert len([text for text in found.texts if "api_key" in text]) == 1
        for client in clients:
            assert await close_code(client) == 4403
        await server.app.start(await server.app.create_flow(ECHO))
        assert (await next_event(other))["status"] == "QUEUED"


async def test_subscriptions_of_a_key_are_limited(database_url: str) -> None:
    async with (
        run_server(database_url, max_subscriptions_per_key=2) as server,
        let_in(server) as one,
        let_in(server) as two,
        let_in(server, server.app.keys.viewer) as other,
    ):
        for socket, name in ((one, "a"), (two, "b"), (other, "a")):
            await subscribe(socket, PLAIN, name)
            assert (await next_event(socket, name))["__typename"] == "CaughtUp"
        await subscribe(one, PLAIN, "c")
        message = await receive(one)
        assert (message["id"], message["type"]) == ("c", "error")
        assert message["payload"][0]["extensions"] == {"code": "TOO_MANY_SUBSCRIPTIONS"}
        await one.send(json.dumps({"id": "a", "type": "complete"}))
        # The end of the stream takes its course; a query finds room when it has.
        async with asyncio.timeout(PATIENCE):
            while True:
                await subscribe(one, PLAIN, "c")
                message = await receive(one)
                if message["type"] == "next":
                    break


async def test_connections_of_a_key_are_limited(database_url: str) -> None:
    async with run_server(database_url, max_connections_per_key=1) as server:
        shown = {"Authorization": f"Bearer {server.app.keys.admin}"}
        async with let_in(server), let_in(server, server.app.keys.viewer):
            async with connect(server, shown) as second:
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await second.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4429, "TOO_MANY_CONNECTIONS")


async def test_socket_without_connection_init_is_closed(server: AppServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.endpoint, "connection_init_wait_timeout", timedelta(milliseconds=1))
    url = server.url.replace("http", "ws") + "/graphql"
    async with websockets.connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        assert await close_code(socket) == 4408
