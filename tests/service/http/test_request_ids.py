"""An ID for each request: from the client or made, in the response and on the request's log lines."""

import io
import json
import logging
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from service.http.cross_origin import OtherOrigins
from service.http.request_ids import HEADER, MaskedErrors, RequestIds
from service.log_output import JsonFormatter, LogHandler
from tests.support.app import BASE_URL, App
from tests.support.query import query
from tests.support.run_family import make_run_family

ORIGIN = "https://ui.example"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of this process, as JSON."""
    stream = io.StringIO()
    handler = LogHandler(JsonFormatter(), stream)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


async def fail(_: Request) -> Response:
    logging.getLogger("tests").warning("about to fail")
    raise RuntimeError("a secret")


async def accept(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


APP = Starlette(
    routes=[Route("/fail", fail), WebSocketRoute("/socket", accept)],
    middleware=[Middleware(RequestIds), *OtherOrigins([ORIGIN]).middleware(), Middleware(MaskedErrors)],
)


@pytest.mark.parametrize("given", ["a", "0f5e6098-1d2c", "Root=1-67/x:y+z.w_v", "x" * 128])
async def test_safe_id_is_taken_from_the_client(idle_app: App, given: str) -> None:
    response = await idle_app.http.get("/healthz", headers={HEADER: given})
    assert response.headers[HEADER] == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, 'a"b', "a;b", "a\tb", "{}"])
async def test_unsafe_id_is_replaced(idle_app: App, given: str) -> None:
    response = await idle_app.http.get("/healthz", headers={HEADER: given})
    made = response.headers[HEADER]
    assert made != given
    assert len(made) == 16


async def test_each_request_gets_an_id_of_its_own(idle_app: App) -> None:
    responses = [await idle_app.post("{ viewer { role } }") for _ in range(2)]
    assert len({response.headers[HEADER] for response in responses}) == 2


async def test_masked_error_has_its_request_in_the_log(idle_app: App, database_url: str, log: io.StringIO) -> None:
    family = await make_run_family(idle_app)
    await query(database_url, "UPDATE flow_run SET status = 'NONSENSE'")
    text = "query($id: ID!) { flowRun(id: $id) { status } }"
    response = await idle_app.post(text, {"id": family.failed})
    (error,) = response.json()["errors"]
    (entry,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert entry["message"] == "internal error"
    assert entry["correlation_id"] == error["extensions"]["correlationId"]
    assert entry["request_id"] == response.headers[HEADER]
    assert entry["path"] == ["flowRun", "status"]
    assert "NONSENSE" in entry["exception"]


async def test_failure_of_the_service_names_the_request(log: io.StringIO) -> None:
    transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        response = await http.get("/fail", headers={HEADER: "r1", "origin": ORIGIN})
    assert (response.status_code, response.headers.get_list(HEADER)) == (500, ["r1"])
    assert response.headers["access-control-allow-origin"] == ORIGIN  # a page of another origin can read it
    (error,) = response.json()["errors"]
    assert error["extensions"] == {"code": "INTERNAL_ERROR", "correlationId": "r1"}
    assert "secret" not in response.text
    (entry,) = [json.loads(line) for line in log.getvalue().splitlines() if "about to fail" in line]
    assert entry["request_id"] == "r1"


async def test_handshake_of_a_socket_returns_the_id() -> None:
    received: list[Message] = [{"type": "websocket.connect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(HEADER.encode(), b"r1")]
    scope = {"type": "websocket", "path": "/socket", "query_string": b"", "headers": headers, "subprotocols": []}
    await APP(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[0]["headers"] == [(HEADER.encode(), b"r1")]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ["/graphql", "/sign-in"])
async def test_disconnected_client_is_not_an_error(idle_app: App, log: io.StringIO, path: str) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"query": "{ vi', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_: Message) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"testserver"),
            (b"authorization", f"Bearer {idle_app.keys.admin}".encode()),
            (b"content-type", b"application/json"),
            (b"origin", BASE_URL.encode()),
        ],
    }
    await idle_app.service.app(scope, receive, send)
    assert "Traceback" not in log.getvalue()
    assert messages == []
