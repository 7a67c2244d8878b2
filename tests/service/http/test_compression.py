"""Responses in compressed form, for clients that accept it."""

import zlib
from collections.abc import Callable

import brotli
import httpx
import orjson
import pytest
import zstandard

from service.http.compression import MINIMUM_BYTES
from service.http.media_types import GRAPHQL_RESPONSE
from tests.support.app import App

LONG = "{ __schema { types { name description } } }"
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdDecompressor().stream_reader(body).read(),
    "br": brotli.decompress,
    "gzip": lambda body: zlib.decompress(body, wbits=31),
}


async def raw(app: App, query: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """A response, and its body as it was sent."""
    shown = {"authorization": f"Bearer {app.keys.viewer}", **headers}
    request = app.http.build_request("POST", "/graphql", json={"query": query}, headers=shown)
    response = await app.http.send(request, stream=True)
    return response, b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br;q=0.5", "br"),
        ("zstd;q=0, gzip", "gzip"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_RESPONSE])
async def test_long_response_is_compressed(idle_app: App, accepted: str, chosen: str, accept: str) -> None:
    plain, expected = await raw(idle_app, LONG, accept=accept, **{"accept-encoding": "identity"})
    response, body = await raw(idle_app, LONG, accept=accept, **{"accept-encoding": accepted})
    assert "content-encoding" not in plain.headers
    assert response.headers["content-encoding"] == chosen
    assert response.headers["content-type"] == plain.headers["content-type"]
    assert DECODERS[chosen](body) == expected
    assert len(body) < len(expected) / 3
    assert "accept-encoding" in plain.headers["vary"].lower()
    assert "accept-encoding" in response.headers["vary"].lower()


@pytest.mark.parametrize("accepted", ["identity", "deflate", "zstd;q=0", ""])
async def test_client_without_accepted_encoding_gets_the_uncompressed_body(idle_app: App, accepted: str) -> None:
    response, body = await raw(idle_app, LONG, **{"accept-encoding": accepted})
    assert "content-encoding" not in response.headers
    assert int(response.headers["content-length"]) == len(body)
    assert "data" in orjson.loads(body)


async def test_short_response_is_not_compressed(idle_app: App) -> None:
    response, body = await raw(idle_app, "{ viewer { role } }", **{"accept-encoding": "gzip"})
    assert len(body) < MINIMUM_BYTES
    assert "content-encoding" not in response.headers
    assert orjson.loads(body) == {"data": {"viewer": {"role": "VIEWER"}}}


async def test_event_stream_is_not_compressed(idle_app: App) -> None:
    response, body = await raw(idle_app, LONG, accept="text/event-stream", **{"accept-encoding": "gzip"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in response.headers
    assert b"event: next\n" in body
    assert len(body) > MINIMUM_BYTES
