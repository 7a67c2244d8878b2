"""Signing secrets of webhooks: encrypted at rest, and a lost key is an error that says so."""

import hashlib
import hmac
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select, update

from db.models import Webhook
from db.models.types import table
from db.row_types import WebhookRow
from db.sql.rows import fetch_first
from engine.secrets import signing
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from engine.secrets.rewrap import rewrap
from service.asgi import create_service
from service.settings import Settings
from tests.support.app import SECRET_KEY, App, run_app

SECRET = "a secret of the sender"
BODY = b'{"order": 7}'
CREATE = """mutation($flow: ID!, $secret: String!) { it: createWebhook(
    flowId: $flow, name: "shop", signatureHeader: "x-signature", signatureSecret: $secret) {
    ... on CreateWebhookSuccess { path } ... on UserError { code message } } }"""
ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
_WEBHOOKS = table(Webhook)


async def create(app: App) -> dict[str, Any]:
    flow = await app.create_flow(ECHO)
    made: dict[str, Any] = (await app.query(CREATE, {"flow": flow, "secret": SECRET}))["it"]
    return made


async def stored(app: App) -> WebhookRow:
    """Returns the only webhook."""
    row: WebhookRow = await app.database.read(lambda conn: fetch_first(conn, select(_WEBHOOKS)))
    return row


async def change(app: App, **values: Any) -> None:
    await app.database.write(lambda uow: uow.conn.execute(update(_WEBHOOKS).values(**values)))


async def call(http: httpx.AsyncClient, path: str, secret: str = SECRET) -> httpx.Response:
    signature = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    headers = {"x-signature": f"sha256={signature}", "content-type": "application/json"}
    return await http.post(path, content=BODY, headers=headers)


async def test_secret_is_encrypted_and_checks_calls(idle_app: App, database_url: str) -> None:
    path = (await create(idle_app))["path"]
    row = await stored(idle_app)
    assert (row.signature_secret, row.signature_key_id) == (None, KeyRing(parse_keys(SECRET_KEY)).primary_id)
    assert SECRET not in str(row)
    assert (await call(idle_app.http, path)).status_code == 202
    assert (await call(idle_app.http, path, "another")).status_code == 401
    # Another key encrypts it again; then it checks the same calls.
    new = new_key()
    ring = KeyRing(parse_keys(f"{new},{SECRET_KEY}"))
    assert (await rewrap(idle_app.database, ring)).signing_secrets == 1
    assert (await rewrap(idle_app.database, ring)).signing_secrets == 0
    service = create_service(
        Settings(database_url=database_url, secret_keys=new), idle_app.database, UUID(int=0), with_worker=False
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://test") as http:
        assert (await call(http, path)).status_code == 202
        assert (await http.get("/readyz")).text == "ready\n"
    # The process that was not given the new key says what is missing, and the sender repeats the call.
    lost = await call(idle_app.http, path)
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "SIGNING_SECRET_UNREADABLE")
    assert str(ring.primary_id) in lost.json()["error"]["message"]
    ready = await idle_app.http.get("/readyz")
    assert (ready.status_code, f"{ring.primary_id} (1 secrets)" in ready.text) == (503, True)
    again = await rewrap(idle_app.database, KeyRing(parse_keys(SECRET_KEY)))
    assert (again.signing_secrets, again.unreadable_signing_secrets) == (0, 1)


async def test_secrets_of_earlier_versions_are_encrypted(idle_app: App) -> None:
    path = (await create(idle_app))["path"]
    await change(idle_app, signature_secret=SECRET, signature_key_id=None, signature_sealed=None)
    assert (await call(idle_app.http, path)).status_code == 202
    keys = KeyRing(parse_keys(SECRET_KEY))
    assert await signing.seal_all(idle_app.database, KeyRing(), plain=True) == (0, 0)
    assert await signing.seal_all(idle_app.database, keys, plain=True) == (1, 0)
    assert await signing.seal_all(idle_app.database, keys, plain=True) == (0, 0)
    row = await stored(idle_app)
    assert (row.signature_secret, row.signature_key_id) == (None, keys.primary_id)
    assert (await call(idle_app.http, path)).status_code == 202
    # Moved to another webhook it is of no use.
    await change(idle_app, id=UUID(int=7))
    assert (await call(idle_app.http, path)).status_code == 503


async def test_without_a_key_no_secret_is_taken(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, secret_keys="") as app:
        made = await create(app)
        assert made.get("code") == ("SECRET_KEYS_MISSING" if "postgresql" in database_url else None)
