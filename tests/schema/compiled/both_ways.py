"""Executes queries by compiled reads and by the general path."""

from collections.abc import Mapping
from typing import Any

import orjson

from engine.compiled_flow import FlowCache
from resolvers.context import Context, Viewer
from schema.build import build_schema
from schema.compiled.reads import CompiledReads
from service.http.viewers import Viewers
from tests.support.app import App


async def viewer_of(app: App, key: str | None = None) -> Viewer:
    """Returns the viewer with a key, by default the ADMIN key of the first project."""
    viewer = await Viewers(app.database).find(key or app.keys.admin)
    assert viewer is not None
    return viewer


async def compiled(
    app: App, reads: CompiledReads, query: str, variables: Mapping[str, Any] | None, viewer: Viewer
) -> bytes | None:
    """Returns the answer of compiled reads; None if they leave the query to the general path."""
    return await reads.execute(query, variables, None, Context(app.database, FlowCache(app.database), viewer))


async def general(app: App, query: str, variables: Mapping[str, Any] | None, viewer: Viewer) -> bytes:
    """Returns the answer of the general path."""
    context = Context(app.database, FlowCache(app.database), viewer)
    result = await build_schema().execute(query, dict(variables or {}), context)
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    return orjson.dumps(body)


async def answers(
    app: App, query: str, variables: Mapping[str, Any] | None = None, key: str | None = None
) -> tuple[bytes, bytes]:
    """Returns the answers of both. Fails the test if compiled reads leave the query to the general path."""
    reads, viewer = CompiledReads(build_schema(), 10), await viewer_of(app, key)
    found = await compiled(app, reads, query, variables, viewer)
    assert found is not None, reads.counts.general
    return found, await general(app, query, variables, viewer)
