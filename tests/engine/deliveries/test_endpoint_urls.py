"""The URLs of endpoints: encrypted at rest, also those of earlier versions, and a lost key is an error that says so."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from db.deliveries import endpoints, sealed
from db.models import Endpoint
from db.models.types import table
from db.outbound_row_types import EndpointRow
from db.sql.rows import fetch_all
from domain import ids
from domain.actor import SYSTEM
from domain.ids import IdKind
from domain.outbound.delivery import AttemptError
from domain.time import clock
from engine.deliveries.sender import Sender
from engine.file_store import FileStore
from engine.secrets import endpoint_urls
from engine.secrets.key_ring import KeyLostError, KeyRing, new_key, parse_keys
from engine.secrets.rewrap import rewrap
from engine.worker.maintenance import maintenance_jobs
from tests.engine.deliveries.conftest import CREATE, Sending
from tests.engine.deliveries.test_deliveries import make_due
from tests.support.app import App, run_app
from tests.support.run_family import make_flow

PATH = "/ok/hidden-token?key=another-token"
URLS = "{ endpoints { nodes { id name url } } }"
UPDATE = """mutation($id: ID!, $url: String!) { it: updateEndpoint(input: {id: $id, url: $url}) {
    ... on UpdateEndpointSuccess { endpoint { url } } ... on UserError { code } } }"""
_ENDPOINTS = table(Endpoint)


async def stored(app: App) -> list[EndpointRow]:
    """Returns the endpoints, the oldest first."""
    query = select(_ENDPOINTS).order_by(_ENDPOINTS.c.id)
    rows: list[EndpointRow] = list(await app.database.read(fetch_all, query))
    return rows


async def change(app: App, endpoint: str, **values: Any) -> None:
    """Sets columns of an endpoint."""
    own = update(_ENDPOINTS).where(_ENDPOINTS.c.id == ids.decode(IdKind.ENDPOINT, endpoint))
    await app.database.write(lambda uow: uow.conn.execute(own.values(**values)))


async def deliver(sending: Sending, count: int) -> None:
    """Sends the event of one more run to the endpoint, which has got `count` then."""
    await sending.run()
    await sending.send()
    assert len(sending.receiver.of("/ok/hidden-token")) == count


async def test_url_of_an_earlier_version_is_read_until_a_worker_has_encrypted_it(
    sending: Sending, tmp_path: Any
) -> None:
    endpoint, _ = await sending.endpoint(PATH)
    await sending.endpoint(None)
    url = sending.receiver.url + PATH
    await change(sending.app, endpoint, url=url, url_key_id=None, url_sealed=None)
    await deliver(sending, 1)
    shown = (await sending.app.query(URLS))["endpoints"]["nodes"]
    assert [each["url"] for each in shown] == [None, url]

    jobs = maintenance_jobs(sending.app.database, FileStore(str(tmp_path)), None, keys=sending.keys)
    (job,) = [job for job in jobs if job.name == "encrypt URLs of endpoints"]
    assert await endpoint_urls.seal_plain(sending.app.database, KeyRing()) == 0
    await job.work()
    row, of_callbacks = await stored(sending.app)
    assert (row.url, row.url_key_id) == (sealed.ENCRYPTED_URL, sending.keys.primary_id)
    assert "token" not in str(row)
    assert (of_callbacks.url, of_callbacks.url_key_id, of_callbacks.url_sealed) == (None, None, None)
    assert await endpoint_urls.seal_plain(sending.app.database, sending.keys) == 0
    await deliver(sending, 2)
    assert (await sending.app.query(URLS))["endpoints"]["nodes"] == shown

    # A process of the earlier version sets another URL: it is the one that counts, and is encrypted as well.
    await change(sending.app, endpoint, url=sending.receiver.url + "/ok/new")
    await deliver(sending, 2)
    assert len(sending.receiver.of("/ok/new")) == 1
    # A URL that a client changes while it is encrypted is not lost.
    (old,) = await sending.app.database.read(sealed.plain_urls, None, 10)
    await change(sending.app, endpoint, url=url)
    columns = endpoint_urls.sealed_columns(sending.keys, old.url, old.endpoint_id)
    await sending.app.database.write(sealed.seal_urls, [(old, columns)])
    assert (await stored(sending.app))[0].url == url
    assert (await rewrap(sending.app.database, sending.keys)).texts == 1
    await deliver(sending, 3)


async def test_another_key_encrypts_the_url_again_and_without_it_the_error_names_the_key(sending: Sending) -> None:
    endpoint, _ = await sending.endpoint(PATH)
    new = new_key()
    ring = KeyRing(parse_keys(f"{new},{sending.secret_key}"))
    done = await rewrap(sending.app.database, ring)
    assert (done.texts, done.unreadable_texts) == (2, 0)  # its secret as well
    assert (await stored(sending.app))[0].url_key_id == ring.primary_id
    assert (await rewrap(sending.app.database, ring)).texts == 0

    # A process that lacks the new key: lists show the rest, and the delivery waits for a worker that has it.
    body = await sending.app.execute(URLS)
    assert body["data"]["endpoints"]["nodes"] == [{"id": endpoint, "name": "an endpoint", "url": None}]
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "ENDPOINT_URL_UNREADABLE"
    assert error["path"] == ["endpoints", "nodes", 0, "url"]
    assert str(ring.primary_id) in error["message"]
    await deliver(sending, 0)
    (waiting,) = await sending.log()
    assert (waiting["status"], waiting["attempts"][0]["error"]) == ("PENDING", "KEY_MISSING")
    assert str(ring.primary_id) in waiting["attempts"][0]["message"]
    assert (await rewrap(sending.app.database, sending.keys)).unreadable_texts == 2

    sending.keys = KeyRing(parse_keys(new))
    other = sending.new_deliverer()
    await make_due(sending.app.database)
    await other.drain()
    await other.shut_down()
    assert [each["status"] for each in await sending.log()] == ["DELIVERED"]
    # Where the key is lost for good, a new URL replaces the one that cannot be read.
    url = sending.receiver.url + "/ok/new"
    assert (await sending.app.query(UPDATE, {"id": endpoint, "url": url}))["it"] == {"endpoint": {"url": url}}


async def test_empty_url_is_refused_as_earlier_versions_do_that_meet_an_encrypted_one() -> None:
    sender = Sender(allow_private=True, use_proxies=False)
    attempt = await sender.send(sealed.ENCRYPTED_URL, b"{}", {})
    assert (attempt.status, attempt.error) == (None, AttemptError.ADDRESS_REFUSED)
    await sender.aclose()


async def test_encrypted_url_is_bound_to_its_endpoint_and_differs_from_its_secret(sending: Sending) -> None:
    first, _ = await sending.endpoint(PATH)
    await sending.endpoint("/ok/other")
    one, other = await stored(sending.app)
    moved = ((other.url_key_id, other.url_sealed), (one.key_id, one.sealed))
    for key_id, text in moved:
        await change(sending.app, first, url_key_id=key_id, url_sealed=text)
        with pytest.raises(KeyLostError):
            endpoint_urls.url_of(sending.keys, (await stored(sending.app))[0])
    assert await sending.app.error_code(URLS) == "ENDPOINT_URL_UNREADABLE"


async def test_audit_log_and_attempts_have_nothing_of_the_url_but_the_host(sending: Sending) -> None:
    endpoint, _ = await sending.endpoint(PATH)
    url = sending.receiver.url + "/ok/secret-part/hidden-token?another-token"
    for _ in range(2):
        await sending.app.query(UPDATE, {"id": endpoint, "url": url})
    found = await sending.app.query("{ auditEvents(first: 3) { nodes { action details } } }")
    same, changed, created = [each["details"] for each in found["auditEvents"]["nodes"]]
    assert (same["changes"], changed["changes"]) == (
        {},
        {"url": {"from": sending.receiver.url, "to": sending.receiver.url}},
    )
    assert created["url"] == sending.receiver.url
    await sending.run()
    await sending.send()
    assert [each.path for each in sending.receiver.requests] == ["/ok/secret-part/hidden-token"]
    (sent,) = await sending.log()
    assert sent["attempts"][0]["excerpt"] == "answer of ***"


async def test_without_a_key_no_url_is_taken(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, secret_keys="") as app:
        flow = await make_flow(app)
        endpoint, now = UUID(int=7), clock.now()
        row = {"id": endpoint, "project_id": flow.project_id, "name": "crm", "url": "https://crm.example/"}
        sent = {"run_filter": "{}", "kinds": '["RUN_ENDED"]', "payloads": False, "enabled": True, "after_seq": 0}
        lost = {"key_id": "lost", "sealed": "", "created_at": now, "changed_at": now, "changed_by": SYSTEM.text}
        await app.database.write(endpoints.create, {**row, **sent, **lost})
        encoded = ids.encode(IdKind.ENDPOINT, endpoint)
        answers = [
            (await app.query(UPDATE, {"id": encoded, "url": "https://crm.example/new"}))["it"],
            (await app.query(CREATE, {"input": {"name": "a", "url": "https://crm.example/new"}}))["it"],
        ]
        # With an SQLite database the service has a key of its own.
        codes = {"SECRET_KEYS_MISSING"} if "postgresql" in database_url else {None}
        assert {answer.get("code") for answer in answers} == codes
