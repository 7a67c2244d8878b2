"""HTTP steps: requests byte for byte, and responses."""

import codecs
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain import json_codec
from domain.time import clock
from engine.errors import StepError
from engine.steps import KINDS, StepContext, StepKind, StepSettings
from tests.support.clock import FakeClock
from tests.support.processes.listener import answering
from tests.support.worker import WorkerHarness

CONTEXT = StepContext("run_1", "call", 1, "run_1:call")
DOCUMENT = '{"name": "Müller"}'


class Server:
    """Responds as a test requires, and records the targets of the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.targets: list[str] = []
        self.responses: list[Response] = []
        self.app = Starlette(routes=[Route("/{path:path}", self.respond, methods=["GET", "POST"])])

    async def respond(self, request: Request) -> Response:
        query = request.scope["query_string"].decode()
        self.targets.append(request.scope["raw_path"].decode() + ("?" + query if query else ""))
        return self.responses.pop(0) if self.responses else Response("{}", media_type="application/json")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with answering(server.app) as server.url:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[StepKind]:
    async with KINDS.open(StepSettings(http_allow_private=True)) as kinds:
        yield kinds["http"]


@pytest.mark.parametrize(
    "target",
    [
        "/x?wsdl",
        "/x?a=b%20c&X-Amz-Signature=x",
        "/x?a=1&b=2&a=3",
        "/x?q=%E9t%E9",
        "/x?f=a,b:c@d&t=(z)*",
        "/x?a=&b",
        "/x?x=1&&y=2",
        "/x?q=a+b",
        "/x?q=%7e%2f",
        "/x?u=http://h/p?x=1",
        "/x?q='\"<>|^{}[]`\\",
        "/a%2Fb?c",
    ],
)
async def test_query_is_sent_as_it_is_written(server: Server, http: StepKind, target: str) -> None:
    await http.run({"url": server.url + target + "#fragment"}, CONTEXT)
    assert server.targets == [target]


@pytest.mark.parametrize(
    ("written", "query", "target"),
    [
        ("/x?a=%20", {"b": "c d", "a": [1, 2]}, "/x?a=%20&b=c+d&a=1&a=2"),
        ("/x", {"b": True}, "/x?b=true"),
        ("/x?", {"b": 1}, "/x?b=1"),
        ("/x?a=1", {}, "/x?a=1"),
        ("/x?a=1", {"b": None}, "/x?a=1"),
        ("/x?q=ä b", {}, "/x?q=%C3%A4%20b"),
    ],
)
async def test_query_is_added_to_that_of_the_url(
    server: Server, http: StepKind, written: str, query: Any, target: str
) -> None:
    await http.run({"url": server.url + written, "query": query}, CONTEXT)
    assert server.targets == [target]


async def test_redirect_follows_the_location(server: Server, http: StepKind) -> None:
    server.responses = [Response(status_code=302, headers={"location": "/y?a='b,c'"})]
    await http.run({"url": server.url + "/x?a=1"}, CONTEXT)
    assert server.targets == ["/x?a=1", "/y?a='b,c'"]


async def test_repeated_headers_are_lists(server: Server, http: StepKind) -> None:
    response = Response("{}", headers={"x-once": "1, 2"})
    cookies = ["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "b=2"]
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    server.responses = [response]
    headers = (await http.run({"url": server.url}, CONTEXT))["headers"]
    assert (headers["set-cookie"], headers["x-once"]) == (cookies, "1, 2")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (codecs.BOM_UTF8 + DOCUMENT.encode(), "application/json"),
        (DOCUMENT.encode("latin-1"), "application/json; charset=iso-8859-1"),
        (DOCUMENT.encode("utf-16"), "application/problem+json; charset=utf-16"),
    ],
)
async def test_json_is_read_in_its_charset(server: Server, http: StepKind, body: bytes, content_type: str) -> None:
    server.responses = [Response(body, headers={"content-type": content_type})]
    assert (await http.run({"url": server.url}, CONTEXT))["body"] == {"name": "Müller"}


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1e400"])
async def test_number_that_cannot_be_kept_fails_the_step(server: Server, http: StepKind, number: str) -> None:
    server.responses = [Response(f'{{"id": {number}}}', media_type="application/json")]
    with pytest.raises(StepError) as caught:
        await http.run({"url": server.url}, CONTEXT)
    assert (caught.value.code, caught.value.retryable) == ("NUMBER_OUT_OF_RANGE", False)


@pytest.mark.parametrize(
    ("form", "seconds"), [("120", 120.0), ("date", 60.0), ("past", 0.0), ("soon", None), ("-5", None), ("", None)]
)
async def test_error_has_the_seconds_of_retry_after(
    server: Server, http: StepKind, fake_clock: FakeClock, form: str, seconds: float | None
) -> None:
    dates = {"date": timedelta(seconds=60), "past": timedelta(seconds=-60)}
    value = format_datetime(clock.now() + dates[form], usegmt=True) if form in dates else form
    server.responses = [Response("{}", 429, headers={"retry-after": value})]
    with pytest.raises(StepError) as caught:
        await http.run({"url": server.url}, CONTEXT)
    assert caught.value.retry_after == seconds
    assert (caught.value.details or {}).get("retryAfter") == seconds


@pytest.mark.parametrize("redact", [[], ["input.headers.x-key"]])
@pytest.mark.parametrize(("asked", "waited"), [("30", 30), ("900", 100), ("0", 1)])
async def test_step_waits_as_long_as_the_server_asks_within_its_policy(
    worker: WorkerHarness, fake_clock: FakeClock, server: Server, asked: str, waited: int, redact: list[str]
) -> None:
    """Also if there are values that are masked in errors."""
    server.responses = [Response("{}", 503, headers={"retry-after": asked})]
    retry = {"attempts": 2, "delay": 1, "jitter": 0, "maxDelay": 100}
    given = {"url": server.url, "headers": {"x-key": "a key of an API"}}
    flow = await worker.publish({"name": "call", "kind": "http", "retry": retry, "input": given, "redact": redact})
    run_id = await worker.execute(flow)
    due_at = (await worker.run(run_id)).due_at
    assert due_at == clock.now() + timedelta(seconds=waited)


async def test_fields_may_be_templates(worker: WorkerHarness, server: Server) -> None:
    given = {
        "url": server.url + "/{{ run.input.path }}",
        "method": "{{ run.input.method }}",
        "query": "{{ run.input.query }}",
        "headers": "{{ run.input.headers }}",
        "failOnStatus": "{{ run.input.fail }}",
    }
    server.responses = [Response("{}", 404)]
    flow = await worker.publish({"name": "call", "kind": "http", "input": given})
    run_input = (
        '{"path": "a b", "method": "POST", "query": {"q": "{{ 1 }}"}, "headers": {"x": "{{ 2 }}"}, "fail": false}'
    )
    run_id = await worker.execute(flow, run_input)
    assert (await worker.statuses(run_id)) == {"call": "SUCCEEDED"}
    assert server.targets == ["/a%20b?q=%7B%7B+1+%7D%7D"]


async def test_rendered_field_of_a_wrong_type_is_invalid(worker: WorkerHarness) -> None:
    step = {"name": "call", "kind": "http", "input": {"url": "http://127.0.0.1:1", "method": "{{ run.input.m }}"}}
    flow = await worker.publish(step)
    run_id = await worker.execute(flow, '{"m": "{{ 1 }}"}')
    assert json_codec.decode((await worker.steps(run_id))[0].error)["code"] == "INPUT_INVALID"


async def test_environment_names_the_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    async with KINDS.open(StepSettings(http_use_proxies=True)) as kinds:
        await kinds["http"].run({"url": "http://service.example/a?b='c'"}, CONTEXT)
    assert server.targets == ["http://service.example/a?b='c'"] or server.targets == ["/a?b='c'"]


async def test_hosts_in_no_proxy_are_called_directly(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    async with KINDS.open(StepSettings(http_use_proxies=True, http_allow_private=True)) as kinds:
        await kinds["http"].run({"url": server.url + "/direct"}, CONTEXT)
    assert server.targets == ["/direct"]


async def test_proxies_are_ignored_unless_the_operator_allows_them(
    server: Server, http: StepKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with KINDS.open(StepSettings(http_allow_private=True)) as kinds:
        await kinds["http"].run({"url": server.url + "/direct"}, CONTEXT)
    assert server.targets == ["/direct"]
