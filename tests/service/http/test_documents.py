"""Documents that clients name: Apollo's automatic persisted queries, and a list of trusted documents."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import websockets
from graphql import parse, validate
from websockets.typing import Subprotocol

from domain.errors import BadRequestError, PersistedQueryNotFoundError
from schema.build import build_schema
from service.asgi import CONSOLE_DOCUMENTS
from service.http.documents import MAX_DOCUMENT_BYTES, PersistedDocuments, read_trusted
from tests.support.app import App, run_app
from tests.support.processes.server import run_server

ROLE = "{ viewer { role } }"
COUNT = "{ flows { totalCount } }"
ADMIN = {"data": {"viewer": {"role": "ADMIN"}}}
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def named(text: str, **more: Any) -> dict[str, Any]:
    """A request that names a document by its hash, as Apollo's clients do."""
    return {**more, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}}


async def post(app: App, body: Any) -> httpx.Response:
    return await app.http.post("/graphql", json=body, headers={"authorization": f"Bearer {app.keys.admin}"})


async def get(app: App, **params: str) -> httpx.Response:
    return await app.http.get("/graphql", params=params, headers={"authorization": f"Bearer {app.keys.admin}"})


def code(response: httpx.Response) -> tuple[int, str]:
    (error,) = response.json()["errors"]
    return response.status_code, error["extensions"]["code"]


@pytest.mark.parametrize("compiled_reads", [True, False])
async def test_document_is_sent_once_and_named_afterwards(database_url: str, compiled_reads: bool) -> None:
    async with run_app(database_url, with_worker=False, compiled_reads=compiled_reads) as app:
        unknown = await post(app, named(ROLE))
        assert code(unknown) == (200, "PERSISTED_QUERY_NOT_FOUND")
        assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
        assert (await post(app, named(ROLE, query=ROLE))).json() == ADMIN
        assert (await post(app, named(ROLE))).json() == ADMIN
        # Apollo's clients send hashes by GET, where caches can keep the responses.
        assert (await get(app, extensions=json.dumps(named(ROLE)["extensions"]))).json() == ADMIN
        assert (await post(app, {"documentId": f"sha256:{sha256(ROLE)}"})).json() == ADMIN


async def test_named_document_has_variables_and_operation(idle_app: App) -> None:
    text = "query A { viewer { role } } query B($first: Int!) { flows(first: $first) { totalCount } }"
    body = {"variables": {"first": 0}, "operationName": "B"}
    for query in (text, None):
        answer = (await post(idle_app, named(text, query=query, **body))).json()
        assert answer == {"data": {"flows": {"totalCount": 0}}}


@pytest.mark.parametrize(
    "body",
    [
        named(COUNT, query=ROLE),
        {"query": ROLE, "extensions": {"persistedQuery": {"version": 2, "sha256Hash": sha256(ROLE)}}},
        {"query": ROLE, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": 7}}},
        {"query": ROLE, "extensions": {"persistedQuery": "x"}},
        {"documentId": 7},
    ],
)
async def test_hash_that_is_not_that_of_the_document_is_refused(idle_app: App, body: Any) -> None:
    assert code(await post(idle_app, body)) == (400, "BAD_REQUEST")
    assert code(await post(idle_app, named(COUNT))) == (200, "PERSISTED_QUERY_NOT_FOUND")


async def test_document_without_a_key_is_not_kept(idle_app: App) -> None:
    assert (await idle_app.http.post("/graphql", json=named(ROLE, query=ROLE))).status_code == 401
    assert code(await post(idle_app, named(ROLE))) == (200, "PERSISTED_QUERY_NOT_FOUND")


def test_least_recently_used_documents_are_dropped(dialect: str) -> None:
    documents = PersistedDocuments(2)
    for text in ("a", "b"):
        documents.text_of(named(text, query=text))
    documents.text_of(named("a"))
    documents.text_of(named("c", query="c"))
    assert [documents.text_of(named(text)) for text in ("a", "c")] == ["a", "c"]
    with pytest.raises(PersistedQueryNotFoundError):
        documents.text_of(named("b"))
    # A document that is too long to keep is executed, and is checked all the same.
    long = "#" * (MAX_DOCUMENT_BYTES + 1)
    assert documents.text_of(named(long, query=long)) == long
    with pytest.raises(PersistedQueryNotFoundError):
        documents.text_of(named(long))
    with pytest.raises(BadRequestError):
        documents.text_of(named("a", query=long))


async def test_persisted_queries_can_be_switched_off(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, persisted_queries=0) as app:
        refused = await post(app, named(ROLE))
        assert code(refused) == (200, "PERSISTED_QUERY_NOT_SUPPORTED")
        assert refused.json()["errors"][0]["message"] == "PersistedQueryNotSupported"
        assert (await post(app, named(ROLE, query=ROLE))).json() == ADMIN


class TestTrusted:
    """With FLOWRUNS_TRUSTED_DOCUMENTS."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> str:
        """Files as GraphQL Codegen and Relay's compiler write them, whose IDs are of any kind."""
        codegen, relay = tmp_path / "codegen.json", tmp_path / "relay.json"
        codegen.write_text(json.dumps({f"sha256:{sha256(ROLE)}": ROLE}))
        relay.write_text(json.dumps({"role-of-the-viewer": "query R { viewer { role } }"}))
        return f"{codegen}, {relay}"

    @pytest.fixture
    async def app(self, database_url: str, files: str) -> AsyncIterator[App]:
        async with run_app(database_url, with_worker=False, trusted_documents=files) as running:
            yield running

    @pytest.mark.parametrize(
        "body",
        [
            {"query": ROLE},
            named(ROLE),
            named(ROLE, query=ROLE),
            named("query R { viewer { role } }"),
            {"documentId": f"sha256:{sha256(ROLE)}"},
            {"documentId": sha256(ROLE)},
            {"documentId": "role-of-the-viewer", "query": ""},
        ],
    )
    async def test_trusted_document_is_executed_however_it_is_named(self, app: App, body: Any) -> None:
        assert (await post(app, body)).json() == ADMIN

    @pytest.mark.parametrize(
        "body",
        [
            {"query": COUNT},
            {"query": f"{ROLE} "},
            named(COUNT),
            named(COUNT, query=COUNT),
            named(ROLE, query=COUNT),
            {"documentId": "role-of-the-viewer", "query": COUNT},
            {"documentId": "nope"},
            {"query": "{ __schema { queryType { name } } }"},
        ],
    )
    async def test_every_other_document_is_refused(self, app: App, body: Any) -> None:
        assert code(await post(app, body)) == (403, "DOCUMENT_NOT_TRUSTED")

    async def test_get_and_event_streams_are_bound_too(self, app: App) -> None:
        assert code(await get(app, query=COUNT)) == (403, "DOCUMENT_NOT_TRUSTED")
        assert (await get(app, documentId="role-of-the-viewer")).json() == ADMIN
        headers = {"authorization": f"Bearer {app.keys.admin}", "accept": "text/event-stream"}
        refused = await app.http.post("/graphql", json={"query": COUNT}, headers=headers)
        assert code(refused) == (403, "DOCUMENT_NOT_TRUSTED")
        allowed = await app.http.post("/graphql", json={"query": ROLE}, headers=headers)
        assert json.dumps(ADMIN, separators=(",", ":")) in allowed.text

    async def test_malformed_requests_are_refused_in_the_usual_way(self, app: App) -> None:
        for body in ({}, {"query": 7}, {"query": [ROLE]}, [{"query": COUNT}]):
            assert code(await post(app, body)) == (400, "BAD_REQUEST")

    async def test_sockets_are_bound_too(self, database_url: str, files: str) -> None:
        async with run_server(database_url, trusted_documents=files) as server:
            url = server.url.replace("http", "ws") + "/graphql"
            async with websockets.connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
                await send(socket, type="connection_init", payload={"Authorization": f"Bearer {server.admin_key}"})
                assert (await received(socket))["type"] == "connection_ack"
                for payload in ({"query": COUNT}, named(COUNT), {"documentId": "nope"}):
                    await send(socket, id="1", type="subscribe", payload=payload)
                    message = await received(socket)
                    assert message["type"] == "error"
                    assert message["payload"][0]["extensions"]["code"] == "DOCUMENT_NOT_TRUSTED"
                for payload in ({"query": ROLE}, named(ROLE), {"documentId": "role-of-the-viewer"}):
                    await send(socket, id="2", type="subscribe", payload=payload)
                    assert (await received(socket))["payload"] == ADMIN
                    assert (await received(socket))["type"] == "complete"


async def send(socket: websockets.ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def received(socket: websockets.ClientConnection) -> Any:
    return json.loads(await socket.recv())


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("{", "not JSON"), ("[]", "must be a JSON object"), ('{"a": 1}', "must be a JSON object")],
)
def test_file_that_cannot_be_used_is_reported_in_a_sentence(
    content: str | None, reason: str, dialect: str, tmp_path: Path
) -> None:
    file = tmp_path / "documents.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(click.ClickException, match=reason):
        read_trusted([file])


def test_documents_of_the_console_are_trusted_and_valid(dialect: str) -> None:
    """The build writes them; a document that the schema refuses would make the console fail."""
    if not CONSOLE_DOCUMENTS.exists():
        pytest.skip("the pages are not built")
    texts = read_trusted([CONSOLE_DOCUMENTS])
    graphql_schema = build_schema()._schema
    assert any("subscription" in text for text in texts.values())
    # With this query every page begins.
    assert any(text.startswith("query sessionViewerQuery") for text in texts.values())
    for name, text in texts.items():
        assert name == f"sha256:{sha256(text)}"
        assert validate(graphql_schema, parse(text)) == []
