"""Compiled reads answer generated queries with the same bytes as the general path, errors included.

`FLOWRUNS_GENERATED_QUERIES` sets the number of queries for each database; the nightly run takes 10,000. They are other
ones each time then, which `--hypothesis-seed` repeats.
"""

import gc
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from random import Random

import httpx
import pytest
from graphql import GraphQLObjectType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.assembly import open_database
from domain import ids
from domain.ids import IdKind
from schema.build import build_schema
from schema.compiled.reads import ReadCounts
from schema.compiled.selections import source_of
from service.asgi import Service, create_service
from service.http.graphql import GraphQLEndpoint
from service.settings import Settings
from tests.schema.differential.data import make_data
from tests.schema.differential.documents import Document, DocumentGenerator, Selects
from tests.support.app import BASE_URL, Keys, run_app
from tests.support.clock import FakeClock

QUERIES = int(os.environ.get("FLOWRUNS_GENERATED_QUERIES", "60"))
IS_USUAL = "FLOWRUNS_GENERATED_QUERIES" not in os.environ
KEYS = [field.name for field in fields(Keys)]
SCHEMA = build_schema()._schema
ROOTS = {"flowRun", "flowRuns", "flow", "flows", "inputRequests", "node", "nodes"}
"""The root fields that are compiled."""
REPEATS = 10
Answer = tuple[int, str, bytes]


@dataclass(frozen=True)
class Pair:
    """Two services on one database: one compiles reads, and one executes all of them on the general path."""

    compiled: httpx.AsyncClient
    general: httpx.AsyncClient
    counts: ReadCounts
    keys: Keys
    generator: DocumentGenerator

    async def check(self, document: Document, key: str) -> None:
        """Fails if the services answer with different status, headers or bytes."""
        expected, actual = set[Answer](), set[Answer]()
        for _ in range(REPEATS):
            expected.add(await self._ask(self.general, document, key))
            actual.add(await self._ask(self.compiled, document, key))
            # Of two errors below one field, graphql-core reports the first in time: next time it may be the other.
            if expected & actual or not all(b'"errors"' in body for _, _, body in expected | actual):
                break
        assert expected & actual, (document.text, document.variables, key, expected, actual)

    async def _ask(self, client: httpx.AsyncClient, document: Document, key: str) -> Answer:
        body = {"query": document.text, "variables": document.variables}
        headers = {"authorization": f"Bearer {getattr(self.keys, key)}"}
        answer = await client.post("/graphql", json=body, headers=headers)
        return answer.status_code, answer.headers["content-type"], answer.content


@pytest.fixture
async def pair(database_url: str, fake_clock: FakeClock) -> AsyncIterator[Pair]:
    """Both services, with data. The clock stands still: the duration of a live run is the same in both."""
    async with run_app(database_url, with_worker=False) as app:
        values = await make_data(app)
        general = create_service(
            Settings(database_url=database_url, compiled_reads=False),
            open_database(database_url),
            ids.decode(IdKind.PROJECT, app.project),
            with_worker=False,
        )
        transport = httpx.ASGITransport(general.app)
        async with (
            general.app.router.lifespan_context(general.app),
            httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http,
        ):
            pair = Pair(app.http, http, _counts(app.service), app.keys, DocumentGenerator(SCHEMA, values))
            yield pair
        # A comparison of the general path with itself proves nothing.
        assert pair.counts.compiled > sum(pair.counts.general.values()) / 2, pair.counts
        assert pair.counts.general["failure"] == 0, pair.counts
    gc.collect()  # What graphql-core leaves behind is reported here, and not at the end of all tests.


def _is_compiled(on: GraphQLObjectType, name: str) -> bool:
    """Returns True if plans cover the field: its type is no row, or the field has a source."""
    if on is SCHEMA.query_type:
        return name in ROOTS
    rows = any(source_of(field) is not None for field in on.fields.values())
    return not rows or source_of(on.fields[name]) is not None


def _is_statistic(on: GraphQLObjectType, name: str) -> bool:
    """Returns True for statistics, whose long lists are written by column."""
    return on is not SCHEMA.query_type or name == "flowRunStats"


def _selects_all(_: GraphQLObjectType, __: str) -> bool:
    return True


def _counts(service: Service) -> ReadCounts:
    endpoints = [getattr(route, "endpoint", None) for route in service.app.routes]
    (reads,) = [each.reads for each in endpoints if isinstance(each, GraphQLEndpoint) and each.reads is not None][:1]
    return reads.counts


# graphql-core leaves coroutines behind that stand below a field which it cancels because another field failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=QUERIES,
    deadline=None,
    derandomize=IS_USUAL,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.randoms(use_true_random=False), st.sampled_from(KEYS))
async def test_generated_queries_have_equal_answers(pair: Pair, random: Random, key: str) -> None:
    # One field without a source sends a whole document to the general path, so most documents have none.
    selects: Selects = _is_compiled
    if random.random() >= 0.75:
        selects = _is_statistic if random.random() < 0.3 else _selects_all
    await pair.check(pair.generator.document(random, selects), key)
