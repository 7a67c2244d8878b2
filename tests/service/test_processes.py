"""Several processes of the service on one database, each of which delivers the writes of all."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from db import api_keys
from db.assembly import open_database
from domain.enums import Role
from resolvers.rates.budgets import GRANTS
from tests.service.streams.test_socket import receive, signed_in, subscribe
from tests.support.app import TOKEN_KEY
from tests.support.processes.commands import run_service, run_worker
from tests.support.processes.server import Server

KEY = "a-key-fixed-by-the-operator"
PATIENCE = 60.0
TLS = ssl.create_default_context()
"""One for all clients: each would load the certificate authorities again."""
STARTERS = 3
"""Clients of each process that start runs at the same time, and how many runs each of them starts."""
RUNS = 10
WATCH = """subscription($after: String) { event: flowRunStatusChanged(after: $after) { __typename
    ... on FlowRunStatusChanged { cursor runId change { from to } } ... on CaughtUp { cursor } } }"""
FLOWS = '{ flows(filter: {nameContains: "hello"}) { nodes { id } } }'
START = """mutation($flow: ID!) { startRun(input: {flowId: $flow, waitMs: 30000}) {
    ... on StartRunSuccess { run { id status } } } }"""

CREATE_TOKEN = """mutation { it: createAccessToken(filter: {tags: ["mine"]}) {
    ... on CreateAccessTokenSuccess { token } } }"""
REVOKE_TOKEN = "mutation($token: String!) { it: revokeAccessToken(token: $token) { __typename } }"


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    """That of processes on one database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNS_")}
    settings = {"DATABASE_URL": database_url, "PORT": "0", "BOOTSTRAP_KEY": KEY, "TOKEN_KEYS": TOKEN_KEY}
    return {**kept, **{f"FLOWRUNS_{name}": value for name, value in settings.items()}, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
async def two(environment: dict[str, str]) -> AsyncIterator[tuple[Server, Server]]:
    """Two processes that serve one database."""
    # The second process finds the data of the first one.
    async with run_service(environment, "api") as (one, _), run_service(environment, "api") as (other, _):
        yield Server(one, KEY, ""), Server(other, KEY, "")


@pytest.fixture
async def worker(two: tuple[Server, Server], environment: dict[str, str]) -> AsyncIterator[None]:
    """A worker of the same database."""
    async with run_worker(environment):
        yield


async def query(server: Server, text: str, **variables: Any) -> Any:
    asked = {"query": text, "variables": variables}
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, verify=TLS) as http:
        response = await http.post("/graphql", json=asked, headers={"authorization": f"Bearer {server.admin_key}"})
    body = response.json()
    assert "errors" not in body, body
    return body["data"]


async def next_event(socket: ClientConnection) -> Any:
    return (await receive(socket))["payload"]["data"]["event"]


async def events_until(socket: ClientConnection, run_id: str) -> list[Any]:
    """All changes up to the end of a run."""
    received: list[Any] = []
    while not received or (received[-1]["runId"], received[-1]["change"]["to"]) != (run_id, "SUCCEEDED"):
        event = await next_event(socket)
        received += [event] if event["__typename"] == "FlowRunStatusChanged" else []
    return received


async def start_some(server: Server, flow: str) -> list[str]:
    runs = [(await query(server, START, flow=flow))["startRun"]["run"] for _ in range(RUNS)]
    assert {run["status"] for run in runs} == {"SUCCEEDED"}
    return [run["id"] for run in runs]


@pytest.mark.usefixtures("worker")
async def test_subscribers_of_two_servers_receive_the_same_order(two: tuple[Server, Server]) -> None:
    """Runs are started through both, by several at once. Of each, one client is there from the beginning on, and one
    joins in the midst of it, from where the others began."""
    flow = (await query(two[0], FLOWS))["flows"]["nodes"][0]["id"]
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        early = [await stack.enter_async_context(signed_in(server)) for server in two]
        begun = []
        for socket in early:
            await subscribe(socket, WATCH)
            begun.append((await next_event(socket))["cursor"])
        writing = [asyncio.create_task(start_some(server, flow)) for server in two for _ in range(STARTERS)]
        first = [await next_event(socket) for socket in early]
        late = [await stack.enter_async_context(signed_in(server)) for server in two]
        for socket in late:
            await subscribe(socket, WATCH, after=begun[0])
        run_ids = [run_id for part in await asyncio.gather(*writing) for run_id in part]
        last = (await query(two[1], START, flow=flow))["startRun"]["run"]["id"]
        received = [[event, *(await events_until(socket, last))] for event, socket in zip(first, early, strict=True)]
        received += [await events_until(socket, last) for socket in late]
    changes = [(event["runId"], event["change"]["to"]) for event in received[0]]
    expected = {(run_id, status) for run_id in (*run_ids, last) for status in ("QUEUED", "RUNNING", "SUCCEEDED")}
    assert len(changes) == len(expected) == 3 * (2 * STARTERS * RUNS + 1)
    assert set(changes) == expected
    assert all(each == received[0] for each in received)


async def is_in(server: Server, secret: str) -> bool:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, verify=TLS) as http:
        headers = {"authorization": f"Bearer {secret}"}
        response = await http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert response.status_code in (200, 401)
    return response.status_code == 200


async def ends_everywhere(two: tuple[Server, Server], secret: str) -> None:
    async with asyncio.timeout(PATIENCE):
        for server in two:
            while await is_in(server, secret):
                pass


async def test_revoked_key_and_token_end_in_every_process(two: tuple[Server, Server], database_url: str) -> None:
    """The process that revokes the key is neither of them, and publishes nothing."""
    operator = open_database(database_url)
    secret = await operator.write(
        lambda uow: api_keys.create(uow, project_id=None, role=Role.OPERATOR, name="to be revoked")
    )
    by_one, by_other = [Server(server.url, secret, "") for server in two]
    first, second = [(await query(by_one, CREATE_TOKEN))["it"]["token"] for _ in range(2)]
    assert [await is_in(server, shown) for server in two for shown in (secret, first, second)] == [True] * 6
    revoked = await query(by_other, REVOKE_TOKEN, token=first)
    assert revoked["it"]["__typename"] == "RevokeAccessTokenSuccess"
    await ends_everywhere(two, first)
    assert [await is_in(server, second) for server in two] == [True, True]
    key = await operator.read(api_keys.by_secret, secret)
    assert key is not None
    await operator.write(api_keys.revoke, key.id)
    await ends_everywhere(two, secret)
    await ends_everywhere(two, second)
    await operator.close()


async def test_two_processes_never_allow_more_than_the_limit(environment: dict[str, str]) -> None:
    limit, cost = 1_200, 31
    limited = {**environment, "FLOWRUNS_COST_PER_MINUTE": str(limit)}
    asked = {"query": "{ flowRuns(first: 10) { nodes { id status } } }", "extensions": {"cost": True}}
    headers = {"authorization": f"Bearer {KEY}"}
    async with run_service(limited, "api") as (one, _), run_service(limited, "api") as (other, _):
        began = time.monotonic()

        async def spend(url: str) -> int:
            spent = 0
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, verify=TLS, headers=headers) as http:
                while (response := await http.post("/graphql", json=asked)).status_code == 200:
                    assert response.json()["extensions"]["cost"]["requestedQueryCost"] == cost
                    spent += cost
            assert response.status_code == 429
            assert int(response.headers["retry-after"]) >= 1
            return spent

        spent = sum(await asyncio.gather(*(spend(url) for url in (one, other) for _ in range(2))))
        refilled = (time.monotonic() - began) * limit / 60
    # Nothing was held before, so the limit holds exactly; a process that has given up may still hold a grant.
    assert limit - 2 * limit / GRANTS - cost <= spent <= limit + refilled
