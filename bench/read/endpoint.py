"""Measures how long a large page blocks the service's event loop, and the cost of a document that is new to the
service."""

import asyncio
import statistics
import time
from itertools import count

from graphql import build_schema, parse, validate

from bench.read.load import Client, connect, request
from bench.read.servers import Keys, Server
from bench.read.works import NESTED_FIELDS, graphql
from schema.build import sdl

_REPEATS = 15
_LARGE = """query Runs { flowRuns(first: 1000) { nodes {
    id status environment triggerMethod createdAt startedAt finishedAt durationMs attempt tags flow { id name } } } }"""


async def milliseconds(client: Client, message: bytes) -> float:
    """Returns the milliseconds that a request takes."""
    began = time.perf_counter()
    await client.ask(message)
    return (time.perf_counter() - began) * 1_000


async def event_loop_held(server: Server, keys: Keys) -> float:
    """Returns the median of the longest waits of a health request while a large page is served, in milliseconds."""
    large, other = await connect(server.port), await connect(server.port)
    page, health = graphql(_LARGE, {}, keys.project), request("/healthz", None, None)
    alone = statistics.median([await milliseconds(other, health) for _ in range(_REPEATS)])
    waits = []
    for _ in range(_REPEATS):
        pending, longest = asyncio.ensure_future(large.ask(page)), 0.0
        while not pending.done():
            longest = max(longest, await milliseconds(other, health))
        await pending
        waits.append(longest - alone)
    large.close()
    other.close()
    return statistics.median(waits)


async def cold_document(server: Server, keys: Keys) -> tuple[float, float]:
    """Returns the additional milliseconds of a document's first execution, and those to parse and validate it."""
    schema, numbers = build_schema(sdl()), count()

    def document() -> str:
        return f"query Q{next(numbers)} {{ flowRuns(first: 1) {{ nodes {{ {NESTED_FIELDS} }} }} }}"

    client = await connect(server.port)
    cold, warm, checked = [], [], []
    for _ in range(_REPEATS):
        text = document()
        message = graphql(text, {}, keys.project)
        cold.append(await milliseconds(client, message))
        warm.append(await milliseconds(client, message))
        began = time.perf_counter()
        assert not validate(schema, parse(text))
        checked.append((time.perf_counter() - began) * 1_000)
    client.close()
    return statistics.median(cold) - statistics.median(warm), statistics.median(checked)
