"""A server that responds to HTTP steps in many ways, and HTTP steps with rules for addresses."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.errors import StepError
from engine.steps import StepContext, StepSettings
from engine.steps.http import HttpKind
from engine.steps.network import Address, AddressRule, GuardedBackend, GuardedTransport

KIB = 1024
LIMIT = 64 * KIB
CONTEXT = StepContext("run_1", "call", 1, "run_1:call")
PIECE = b"x" * KIB


class Server:
    """Responds in many ways; records the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Request] = []
        self.came = asyncio.Event()
        self.left = asyncio.Event()
        routes = {
            "/echo": self.echo,
            "/status/{status:int}": self.status,
            "/typed": self.typed,
            "/redirect": self.redirect,
            "/endless": self.endless,
            "/endless-redirect": self.endless,
            "/endless-error": self.endless,
            "/slow": self.slow,
            "/encoded/{kind}": self.encoded,
            "/cookie": self.cookie,
        }
        methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        self.app = Starlette(routes=[Route(path, answer, methods=methods) for path, answer in routes.items()])

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    async def echo(self, request: Request) -> Response:
        self.seen.append(request)
        body = (await request.body()).decode()
        url = str(request.url)
        return JSONResponse(
            {"method": request.method, "url": url, "headers": dict(request.headers), "body": body},
            headers={"X-Mixed-Case": "yes"},
        )

    async def status(self, request: Request) -> Response:
        return Response("é" * 4_000, request.path_params["status"], media_type="text/plain; charset=utf-8")

    async def typed(self, request: Request) -> Response:
        headers = {"content-type": request.query_params["type"]} if "type" in request.query_params else {}
        return Response(bytes.fromhex(request.query_params["hex"]), headers=headers)

    async def redirect(self, request: Request) -> Response:
        left = int(request.query_params.get("hops", "1"))
        target = request.query_params["to"]
        if left > 1:
            target = str(request.url.include_query_params(hops=left - 1))
        return RedirectResponse(target, int(request.query_params.get("status", "302")))

    async def endless(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield PIECE
                    await asyncio.sleep(0)
            finally:
                self.left.set()

        path = request.url.path
        status = {"/endless": 200, "/endless-redirect": 302, "/endless-error": 500}[path]
        return StreamingResponse(pieces(), status, headers={"location": "/echo"})

    async def slow(self, request: Request) -> Response:
        self.came.set()

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.02)
            finally:
                self.left.set()

        return StreamingResponse(pieces())

    async def encoded(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        raw = zlib.compressobj(wbits=-15)
        bodies = {
            "gzip": gzip.compress(b'{"a":1}'),
            "gzip-twice": gzip.compress(b'{"a":') + gzip.compress(b"1}"),
            "deflate": zlib.compress(b'{"a":1}'),
            "deflate-raw": raw.compress(b'{"a":1}') + raw.flush(),
            "gzip-bomb": gzip.compress(bytes(50_000_000)),
            "gzip-hollow": gzip.compress(b"") * 20_000,
            "gzip-broken": b"not gzip at all",
            "br": b"whatever",
        }
        name = kind.partition("-")[0]
        return Response(bodies[kind], headers={"content-encoding": name, "content-type": "application/json"})

    async def cookie(self, request: Request) -> Response:
        return JSONResponse(request.cookies, headers={"set-cookie": "session=secret"})


@asynccontextmanager
async def guarded(
    rule: AddressRule, names: dict[str, Sequence[str]] | None = None
) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """Returns an http kind with `rule`, on a machine that resolves `names`; other names are addresses."""

    async def resolver(host: str, _: int) -> list[Address]:
        return [ip_address(address) for address in (names or {}).get(host, [host.strip("[]")])]

    runner = HttpKind(
        StepSettings(max_response_bytes=LIMIT, http_timeout=20), GuardedTransport(GuardedBackend(rule, resolver))
    )
    try:
        yield lambda url: runner.run({"url": url}, CONTEXT)
    finally:
        await runner.aclose()


async def failure(call: Awaitable[Any]) -> StepError:
    with pytest.raises(StepError) as caught:
        await call
    return caught.value
