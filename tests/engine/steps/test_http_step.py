"""HTTP steps against a real server."""

import asyncio
import re
from typing import Any

import pytest

from engine.steps import KINDS, StepContext, StepKind, StepSettings
from tests.engine.steps.http_server import CONTEXT, KIB, LIMIT, Server, failure
from tests.support.clock import FakeClock
from tests.support.processes.listener import answering


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


async def test_redirect_to_an_invalid_url(server: Server, http: StepKind) -> None:
    error = await failure(http.run({"url": f"{server.url}/redirect?to=http://[/"}, CONTEXT))
    assert error.code == "HTTP_FAILED"
