"""Streams of access tokens: events of the runs of their filter alone, until the token ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from db.models import FlowRun
from db.models.types import table
from db.search import switch
from domain.access_token import TokenKeys
from engine.compiled_flow import FlowCache
from engine.worker import maintenance
from engine.worker.bulk_worker import BulkWorker
from live.stats_feed import StatsFeeds
from resolvers.context import Context
from schema.build import build_schema
from service.http.viewers import Viewers
from service.streams.subscription_rendering import Failure, Operation, Streams
from tests.support.app import PATIENCE, TOKEN_KEY, App, run_app
from tests.support.factory import encode_run_id, make_runs
from tests.support.run_family import make_flow

CREATE = """mutation($payloads: Boolean!) {
    it: createAccessToken(filter: {metadata: {customer: "mine"}}, payloads: $payloads) {
        ... on CreateAccessTokenSuccess { token } } }"""
CHANGES = """subscription($filter: FlowRunFilter, $after: String) {
    flowRunStatusChanged(filter: $filter, after: $after) { __typename
        ... on FlowRunStatusChanged { cursor runId status matches run { id tags flow { name } %s } }
        ... on FlowRunUpdated { cursor runId kind run { id tags %s } } ... on CaughtUp { cursor } } }"""
REMOVED = """subscription($filter: FlowRunFilter, $after: String) {
    flowRunStatusChanged(filter: $filter, after: $after) { __typename
        ... on FlowRunStatusChanged { cursor runId matches run { tags } }
        ... on FlowRunUpdated { runId kind matches run { tags erasedAt } }
        ... on FlowRunDeleted { runId matches at } ... on CaughtUp { cursor } } }"""
PROGRESS = """subscription($run: ID!) { flowRunProgressed(runId: $run) { __typename
    ... on FlowRunStatusChanged { runId status } ... on CaughtUp { cursor } } }"""
STATS = """subscription($filter: FlowRunFilter) { flowRunStatsChanged(filter: $filter) {
    total byStatus { status count } } }"""
BULK = "subscription($id: ID!) { bulkOperationProgressed(id: $id) { cursor } }"
CANCEL = "mutation($id: ID!) { cancel(runId: $id) { __typename } }"
_RUNS = table(FlowRun)


@dataclass
class Watched:
    """A service with a run of a customer, `mine`, and one of another customer; and tokens for the customer's runs."""

    app: App
    streams: Streams
    viewers: Viewers
    stats: StatsFeeds
    mine: str
    foreign: str
    token: str
    blind: str

    async def results(self, secret: str, text: str, **variables: Any) -> AsyncGenerator[Any, None]:
        """Yields the data of a subscription; in the end the code of its error, if it has one."""
        viewer = await self.viewers.find(secret)
        assert viewer is not None
        context = Context(self.app.database, FlowCache(self.app.database), viewer, long_lived=True)
        context.hub, context.stats = self.app.service.hub, self.stats
        async with aclosing(self.streams.results(Operation(text, variables), context)) as results:
            async for result in results:
                if isinstance(result, Failure):
                    yield (result.errors[0].extensions or {})["code"]
                    continue
                for payload in result:
                    body = orjson.loads(payload.body)
                    assert "errors" not in body, body
                    (data,) = body["data"].values()
                    yield data

    async def first(self, secret: str, text: str, **variables: Any) -> Any:
        async with asyncio.timeout(PATIENCE), aclosing(self.results(secret, text, **variables)) as found:
            return await anext(found)

    async def cancel(self, *runs: str) -> None:
        for run in runs:
            done = await self.app.query(CANCEL, {"id": run})
            assert done["cancel"]["__typename"] == "CancelSuccess"


@pytest.fixture(params=[True, False], ids=["fast", "general"])
async def watched(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Watched]:
    async with run_app(database_url, with_worker=False, compiled_reads=request.param) as app:
        published = await make_flow(app)
        rows: list[dict[str, Any]] = [{"tags": ["own"], "metadata": '{"customer": "mine"}'}, {"tags": ["foreign"]}]
        mine, foreign = await app.database.write(make_runs, published, rows)
        token, blind = [(await app.query(CREATE, {"payloads": payloads}))["it"]["token"] for payloads in (True, False)]
        yield Watched(
            app,
            Streams(build_schema(), is_compiled=request.param),
            Viewers(app.database, TokenKeys([TOKEN_KEY])),
            StatsFeeds(app.database, app.service.hub),
            encode_run_id(mine),
            encode_run_id(foreign),
            token,
            blind,
        )


@pytest.mark.parametrize("more", ["", 'step(name: "a") { name }'], ids=["compiled selection", "other selection"])
async def test_changes_of_others_are_not_delivered_live_or_replayed(watched: Watched, more: str) -> None:
    """Beside a key with the same document, which sees all."""
    text = CHANGES % (more, more)
    everything: dict[str, Any] = {"filter": {"or": [{"tags": ["foreign"]}, {"tags": ["own"]}]}}
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(aclosing(watched.results(secret, text, **everything)))
            for secret in (watched.token, watched.app.keys.admin)
        ]
        (start, _) = [(await anext(stream))["cursor"] for stream in opened]
        await watched.cancel(watched.foreign, watched.mine)
        by_token, by_key = opened
        own = await anext(by_token)
        assert (own["runId"], own["status"], own["run"]["tags"]) == (watched.mine, "STOPPED", ["own"])
        assert own["run"]["flow"] == {"name": "flow"}
        seen = [await anext(by_key) for _ in range(2)]
        assert [each["runId"] for each in seen] == [watched.foreign, watched.mine]
        assert seen[1] == own
    async with asyncio.timeout(PATIENCE), aclosing(watched.results(watched.token, text, after=start)) as replayed:
        assert await anext(replayed) == own
        assert (await anext(replayed))["__typename"] == "CaughtUp"


async def test_progress_and_statistics_are_those_of_own_runs(watched: Watched) -> None:
    assert await watched.first(watched.token, PROGRESS, run=watched.foreign) == "RUN_NOT_FOUND"
    assert (await watched.first(watched.token, PROGRESS, run=watched.mine))["__typename"] == "CaughtUp"
    for where in (None, {"tags": ["foreign"]}, {"not": {"tags": ["own"]}}):
        total = (await watched.first(watched.token, STATS, filter=where))["total"]
        assert total == (1 if where is None else 0)
    assert (await watched.first(watched.app.keys.admin, STATS))["total"] == 2


async def test_forbidden_fields_are_refused_before_a_stream_begins(watched: Watched) -> None:
    output = CHANGES % ("output", "output")
    assert await watched.first(watched.blind, output) == "FORBIDDEN"
    assert (await watched.first(watched.token, output))["__typename"] == "CaughtUp"
    parent = CHANGES % ("parentRun { id }", "parentRun { id }")
    for text, variables in ((parent, {}), (BULK, {"id": "bulk_" + "0" * 32})):
        assert await watched.first(watched.token, text, **variables) == "FORBIDDEN"


async def test_search_needs_sight_of_payloads_and_finds_own_runs(watched: Watched) -> None:
    where = {"search": "Needle"}
    for text in (CHANGES % ("", ""), STATS):
        assert await watched.first(watched.blind, text, filter=where) == "FORBIDDEN"
        assert await watched.first(watched.token, text, filter=where) == "SEARCH_OFF"
    await watched.app.database.write(switch.switch_on)
    await watched.app.database.write(lambda uow: uow.conn.execute(update(_RUNS).values(input='"a NEEDLE"')) and None)
    await maintenance.fill_search(watched.app.database)
    assert (await watched.first(watched.token, STATS, filter=where))["total"] == 1
    assert (await watched.first(watched.app.keys.admin, STATS, filter=where))["total"] == 2
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(watched.results(watched.token, CHANGES % ("", ""), filter=where)) as own,
    ):
        await anext(own)
        await watched.cancel(watched.foreign, watched.mine)
        assert (await anext(own))["runId"] == watched.mine


async def test_erasure_and_deletion_reach_subscribers_live_and_replayed_and_no_token(watched: Watched) -> None:
    published = await make_flow(watched.app, "other")
    row: dict[str, Any] = {"tags": ["own"], "metadata": '{"customer": "mine"}'}
    (last,) = await watched.app.database.write(make_runs, published, [row])
    await watched.cancel(watched.foreign, watched.mine)
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        by_token, by_key = [
            # A token cannot select the fields of a deletion.
            await stack.enter_async_context(aclosing(watched.results(secret, text)))
            for secret, text in ((watched.token, CHANGES % ("", "")), (watched.app.keys.admin, REMOVED))
        ]
        start = (await anext(by_key))["cursor"]
        assert (await anext(by_token))["__typename"] == "CaughtUp"
        for name, run in (("Erase", watched.mine), ("Delete", watched.mine), ("Delete", watched.foreign)):
            done = f'mutation {{ it: bulk{name}(filter: {{ids: ["{run}"]}}) {{ __typename }} }}'
            assert (await watched.app.query(done))["it"]["__typename"] == f"Bulk{name}Success"
            await BulkWorker(watched.app.database).drain()
            if name == "Erase":
                erased = await anext(by_key)
        assert (erased["runId"], erased["kind"], erased["run"]["tags"]) == (watched.mine, "ERASED", [])
        assert erased["run"]["erasedAt"] is not None
        deleted = [await anext(by_key) for _ in range(2)]
        assert [(each["__typename"], each["runId"], each["matches"]) for each in deleted] == [
            ("FlowRunDeleted", run, False) for run in (watched.mine, watched.foreign)
        ]
        await watched.cancel(encode_run_id(last))
        # The token was to see `mine`. It gets the next run of its filter, and no removal before.
        assert (await anext(by_token))["runId"] == (await anext(by_key))["runId"] == encode_run_id(last)
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(watched.results(watched.app.keys.admin, REMOVED, after=start)) as found,
    ):
        assert [await anext(found) for _ in range(2)] == deleted
        assert (await anext(found))["runId"] == encode_run_id(last)
