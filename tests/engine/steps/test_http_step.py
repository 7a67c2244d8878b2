"""HTTP steps against a real server."""

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.errors import StepError
from engine.steps import KINDS, StepContext, StepKind, StepSettings
from engine.steps.http import HttpKind
from engine.steps.network import Address, AddressRule, GuardedBackend, GuardedTransport, anywhere, public_only
from tests.support.clock import FakeClock
from tests.support.processes.listener import answering

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


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with answering(server.app) as server.url:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[StepKind]:
    settings = StepSettings(http_allow_private=True, max_response_bytes=LIMIT, http_timeout=20)
    async with KINDS.open(settings) as kinds:
        yield kinds["http"]


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


async def test_request_and_output(server: Server, http: StepKind) -> None:
    output = await http.run(
        {
            "method": "POST",
            "url": f"{server.url}/echo?a=1",
            "query": {"b": [2, "x y"], "c": True, "none": None},
            "headers": {"X-Count": 5, "X-Name": "Zoë"},
            "json": {"k": [1, None]},
        },
        CONTEXT,
    )
    assert output["status"] == 200
    assert output["headers"]["x-mixed-case"] == "yes"
    echoed = output["body"]
    assert echoed["url"] == f"{server.url}/echo?a=1&b=2&b=x+y&c=true"
    assert echoed["body"] == '{"k":[1,null]}'
    sent = echoed["headers"]
    assert sent["idempotency-key"] == "run_1:call"
    assert sent["content-type"] == "application/json"
    assert sent["user-agent"] == "flow-runs"
    assert sent["x-count"] == "5"
    assert sent["x-name"].encode("latin-1").decode() == "Zoë"


async def test_headers_of_the_flow_override_defaults(server: Server, http: StepKind) -> None:
    headers = {"idempotency-key": "mine", "Content-Type": "text/csv", "User-Agent": "me"}
    output = await http.run({"method": "PUT", "url": f"{server.url}/echo", "headers": headers, "body": "a,b"}, CONTEXT)
    sent = output["body"]["headers"]
    assert (sent["idempotency-key"], sent["content-type"], sent["user-agent"]) == ("mine", "text/csv", "me")
    assert output["body"]["body"] == "a,b"


async def test_null_is_a_json_body(server: Server, http: StepKind) -> None:
    output = await http.run({"method": "POST", "url": f"{server.url}/echo", "json": None}, CONTEXT)
    assert output["body"]["body"] == "null"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=application/json&hex=5b315d", {"body": [1]}),
        ("type=application/problem%2Bjson;charset=utf-8&hex=7b7d", {"body": {}}),
        ("type=application/json&hex=7b", {"body": "{"}),
        ("type=application/json&hex=", {"body": None}),
        ("type=text/plain;charset=iso-8859-1&hex=e9", {"body": "é"}),
        ("type=text/plain;charset=idna&hex=c3a9", {"body": "é"}),
        ("type=text/plain;charset=nope&hex=c3a9", {"body": "é"}),
        ("type=text/plain&hex=ff", {"body": "\N{REPLACEMENT CHARACTER}"}),
        ("type=application/xml&hex=3c612f3e", {"body": "<a/>"}),
        ("type=image/png&hex=8950", {"body": None, "bodyBase64": "iVA="}),
        ("hex=c3a9", {"body": "é"}),
        ("hex=ff", {"body": None, "bodyBase64": "/w=="}),
    ],
)
async def test_bodies(server: Server, http: StepKind, query: str, expected: dict[str, Any]) -> None:
    output = await http.run({"url": f"{server.url}/typed?{query}"}, CONTEXT)
    assert {name: value for name, value in output.items() if name.startswith("body")} == expected


@pytest.mark.parametrize("kind", ["gzip", "gzip-twice", "deflate", "deflate-raw"])
async def test_compressed_bodies(server: Server, http: StepKind, kind: str) -> None:
    assert (await http.run({"url": f"{server.url}/encoded/{kind}"}, CONTEXT))["body"] == {"a": 1}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("gzip-bomb", "RESPONSE_TOO_LARGE"),
        ("gzip-hollow", "RESPONSE_TOO_LARGE"),
        ("gzip-broken", "HTTP_FAILED"),
        ("br", "HTTP_FAILED"),
    ],
)
async def test_hostile_compression(server: Server, http: StepKind, kind: str, code: str) -> None:
    assert (await failure(http.run({"url": f"{server.url}/encoded/{kind}"}, CONTEXT))).code == code


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (404, False), (408, True), (425, True), (429, True), (500, True), (503, True)],
)
async def test_error_status_fails_the_step(server: Server, http: StepKind, status: int, retryable: bool) -> None:
    error = await failure(http.run({"url": f"{server.url}/status/{status}"}, CONTEXT))
    assert (error.code, error.retryable) == ("HTTP_STATUS", retryable)
    assert error.details == {"status": status, "body": "é" * 1_024}


async def test_error_status_can_be_accepted_as_output(server: Server, http: StepKind) -> None:
    output = await http.run({"url": f"{server.url}/status/404", "failOnStatus": False}, CONTEXT)
    assert (output["status"], output["body"]) == (404, "é" * 4_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": 5}, "url: Input should be a valid string"),
        ({"url": ""}, "url:"),
        ({"url": "/path"}, "absolute URL"),
        ({"url": "ftp://example.org/"}, "absolute URL"),
        ({"url": "http://0177.0.0.1/"}, "url:"),
        ({"url": "http://[::1/"}, "url:"),
        ({"url": "http://a\nb/"}, "url:"),
        ({"method": "BREW"}, "method:"),
        ({"headers": {"a b": "x"}}, "'a b' cannot be set"),
        ({"headers": {"Content-Length": "3"}}, "'Content-Length' cannot be set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "cannot be set"),
        ({"headers": {"X": "a\r\nY: b"}}, "control characters"),
        ({"headers": {"X": ["a"]}}, "headers.X: Input should be a valid string"),
        ({"query": {"a": {"b": 1}}}, "query.a"),
        ({"json": 1, "body": "x"}, "exclude each other"),
        ({"json": 2**70}, "json:"),
        ({"more": 1}, "more: Extra inputs"),
    ],
)
async def test_invalid_request(http: StepKind, change: dict[str, Any], message: str) -> None:
    error = await failure(http.run({"url": "http://127.0.0.1:1/", **change}, CONTEXT))
    assert (error.code, error.retryable) == ("INPUT_INVALID", False)
    assert message in error.message


async def test_input_that_is_not_an_object(http: StepKind) -> None:
    assert (await failure(http.run("http://x/", CONTEXT))).code == "INPUT_INVALID"


async def test_connection_refused(http: StepKind) -> None:
    error = await failure(http.run({"url": "http://127.0.0.1:1/?key=secret"}, CONTEXT))
    assert (error.code, error.retryable) == ("HTTP_FAILED", True)
    assert "secret" not in error.message


async def test_unknown_host(http: StepKind) -> None:
    assert (await failure(http.run({"url": "http://nowhere.invalid/"}, CONTEXT))).code == "HTTP_FAILED"


async def test_server_that_does_not_speak_http(http: StepKind) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"what?\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert (await failure(http.run({"url": f"http://127.0.0.1:{port}/"}, CONTEXT))).code == "HTTP_FAILED"


async def test_tls_certificate_is_verified(server: Server, http: StepKind) -> None:
    error = await failure(http.run({"url": f"https://127.0.0.1:{server.port}/"}, CONTEXT))
    assert error.code == "HTTP_FAILED"


@pytest.mark.parametrize("path", ["/endless", "/endless?x=%00"])
async def test_endless_body(server: Server, http: StepKind, path: str) -> None:
    error = await failure(http.run({"url": server.url + path}, CONTEXT))
    assert (error.code, error.retryable, error.details) == ("RESPONSE_TOO_LARGE", False, {"limit": LIMIT})
    await asyncio.wait_for(server.left.wait(), 10)


async def test_endless_body_of_a_redirect_or_an_error(server: Server, http: StepKind) -> None:
    output = await http.run({"url": f"{server.url}/endless-redirect"}, CONTEXT)
    assert output["body"]["method"] == "GET"
    error = await failure(http.run({"url": f"{server.url}/endless-error"}, CONTEXT))
    assert error.details == {"status": 500, "body": "x" * 2 * KIB}


async def test_slow_body_times_out(server: Server, http: StepKind, fake_clock: FakeClock) -> None:
    context = StepContext("run_1", "call", 1, "run_1:call", timeout=3)
    call = asyncio.ensure_future(http.run({"url": f"{server.url}/slow"}, context))
    await asyncio.wait_for(server.came.wait(), 10)
    await fake_clock.advance(3)
    error = await failure(call)
    assert (error.code, error.retryable) == ("TIMEOUT", True)
    await asyncio.wait_for(server.left.wait(), 10)


async def test_cancellation_closes_the_connection(server: Server, http: StepKind) -> None:
    call = asyncio.ensure_future(http.run({"url": f"{server.url}/slow"}, CONTEXT))
    await asyncio.wait_for(server.came.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(server.left.wait(), 10)


async def test_cookies_are_not_shared_between_calls(server: Server, http: StepKind) -> None:
    for _ in range(2):
        assert (await http.run({"url": f"{server.url}/cookie"}, CONTEXT))["body"] == {}


async def test_proxy_of_the_environment_is_ignored(
    server: Server, http: StepKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with KINDS.open(StepSettings(http_allow_private=True)) as kinds:
        assert (await kinds["http"].run({"url": f"{server.url}/echo"}, CONTEXT))["status"] == 200


async def test_redirects(server: Server, http: StepKind) -> None:
    url = f"{server.url}/redirect?to=/echo&hops="
    assert (await http.run({"url": url + "5"}, CONTEXT))["body"]["method"] == "GET"
    error = await failure(http.run({"url": url + "6"}, CONTEXT))
    assert (error.code, error.retryable) == ("HTTP_FAILED", False)
    output = await http.run({"url": url + "1", "followRedirects": False}, CONTEXT)
    assert (output["status"], output["headers"]["location"]) == (302, "/echo")


async def test_redirect_that_keeps_method_and_body(server: Server, http: StepKind) -> None:
    url = f"{server.url}/redirect?to=/echo&status=307"
    output = await http.run({"method": "POST", "url": url, "json": [1]}, CONTEXT)
    assert (output["body"]["method"], output["body"]["body"]) == ("POST", "[1]")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "ws://127.0.0.1/", "gopher://127.0.0.1/"])
async def test_redirect_to_another_scheme(server: Server, http: StepKind, target: str) -> None:
    error = await failure(http.run({"url": f"{server.url}/redirect?to={target}"}, CONTEXT))
    assert (error.code, error.retryable) == ("ADDRESS_REFUSED", False)


async def test_secret_headers_are_not_sent_to_another_server(server: Server, http: StepKind) -> None:
    headers = {"Authorization": "Bearer s", "X-Api-Key": "s", "Cookie": "s=s", "Accept": "text/html"}
    async with answering(server.app, "127.0.0.2") as elsewhere:
        output = await http.run({"url": f"{server.url}/redirect?to={elsewhere}/echo", "headers": headers}, CONTEXT)
        sent = output["body"]["headers"]
        assert not {"authorization", "x-api-key", "cookie"} & set(sent)
        assert (sent["accept"], sent["host"]) == ("text/html", elsewhere.removeprefix("http://"))
    output = await http.run({"url": f"{server.url}/redirect?to=/echo", "headers": headers}, CONTEXT)
    assert output["body"]["headers"]["x-api-key"] == "s"


async def test_credentials_in_the_url(server: Server, http: StepKind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "engine.step")
    url = f"{server.url}/echo?k=secret".replace("//", "//user:secret@")
    output = await http.run({"url": url}, CONTEXT)
    assert output["body"]["headers"]["authorization"].startswith("Basic ")
    (record,) = caplog.records
    line = vars(record)["line"]
    assert re.fullmatch(rf"GET {re.escape(server.url)}/echo responded 200 in \d+ ms", line)


REFUSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_refused_addresses(address: str) -> None:
    assert not public_only(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700::1111",
        "2a00::1",
    ],
)
def test_allowed_addresses(address: str) -> None:
    assert public_only(ip_address(address))
    assert anywhere(ip_address(address))


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["169.254.169.254"], ["::1"], ["8.8.8.8", "10.0.0.1"]])
async def test_names_that_resolve_to_refused_addresses(addresses: list[str]) -> None:
    async with guarded(public_only, {"innocent.example": addresses}) as call:
        error = await failure(call("http://innocent.example/"))
    assert (error.code, error.retryable) == ("ADDRESS_REFUSED", False)
    assert "innocent.example" in error.message


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
async def test_spellings_of_the_local_host_are_refused(server: Server, host: str) -> None:
    async with KINDS.open(StepSettings()) as kinds:
        error = await failure(kinds["http"].run({"url": f"http://{host}:{server.port}/echo"}, CONTEXT))
    # On machines that do not read it as an address, it is an unknown host.
    assert error.code in ("ADDRESS_REFUSED", "HTTP_FAILED")
    assert not server.seen
    if host in ("127.0.0.1", "[::1]", "localhost", "2130706433"):
        assert error.code == "ADDRESS_REFUSED"


async def test_redirect_to_a_refused_address(server: Server) -> None:
    async with guarded(lambda address: address == IPv4Address("127.0.0.1"), {"inner.example": ["127.0.0.2"]}) as call:
        assert (await call(f"{server.url}/echo"))["status"] == 200
        for target in ("http://127.0.0.2/", "http://inner.example/"):
            error = await failure(call(f"{server.url}/redirect?to={target}"))
            assert error.code == "ADDRESS_REFUSED"


async def test_connection_goes_to_the_checked_address(server: Server) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def rebinding(_: str, __: int) -> list[Address]:
        return [ip_address(address) for address in answers.pop(0)]

    backend = GuardedBackend(lambda address: address == IPv4Address("127.0.0.1"), rebinding)
    runner = HttpKind(StepSettings(max_response_bytes=LIMIT, http_timeout=20), GuardedTransport(backend))
    output = await runner.run({"url": f"http://name.example:{server.port}/echo"}, CONTEXT)
    await runner.aclose()
    assert output["body"]["headers"]["host"] == f"name.example:{server.port}"
    assert len(answers) == 1


async def test_next_address_is_tried(server: Server) -> None:
    async with guarded(anywhere, {"two.example": ["127.0.0.3", "127.0.0.1"]}) as call:
        assert (await call(f"http://two.example:{server.port}/echo"))["status"] == 200


@pytest.mark.parametrize("seconds", [0.05, 20])
async def test_slow_name_resolution_times_out(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    async def never(_: str, __: int) -> list[Address]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr("engine.steps.http.CONNECT_SECONDS", 0.1)
    runner = HttpKind(StepSettings(http_timeout=seconds), GuardedTransport(GuardedBackend(anywhere, never)))
    assert (await failure(runner.run({"url": "http://slow.example/"}, CONTEXT))).code == "TIMEOUT"
    await runner.aclose()


async def test_name_without_addresses() -> None:
    async with guarded(anywhere, {"empty.example": []}) as call:
        assert (await failure(call("http://empty.example/"))).code == "HTTP_FAILED"


async def test_redirect_to_an_invalid_url(server: Server, http: StepKind) -> None:
    error = await failure(http.run({"url": f"{server.url}/redirect?to=http://[/"}, CONTEXT))
    assert error.code == "HTTP_FAILED"
