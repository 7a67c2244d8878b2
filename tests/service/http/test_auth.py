"""Tests of authentication: API keys, browser sessions and the sign-in token."""

import json
from datetime import timedelta

import httpx
import pytest

from db import api_keys
from domain import ids
from domain.enums import Role
from domain.ids import IdKind
from service.http.auth import SESSION_LIFETIME, TOKEN_LIFETIME, BrowserSessions
from tests.support.app import BASE_URL, App
from tests.support.clock import FakeClock

ROLE = {"query": "{ viewer { role keyName } }"}


async def ask(app: App, **headers: str) -> httpx.Response:
    return await app.http.post("/graphql", json=ROLE, headers=headers)


async def is_in(app: App, secret: str) -> bool:
    response = await ask(app, authorization=f"Bearer {secret}")
    assert response.status_code in (200, 401)
    return response.status_code == 200


async def new_key(app: App, lifetime: timedelta | None = None) -> str:
    project = ids.decode(IdKind.PROJECT, app.project)
    return await app.database.write(
        lambda uow: api_keys.create(uow, project_id=project, role=Role.VIEWER, name="new", lifetime=lifetime)
    )


@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", "Bearer ", "Bearer fr_wrong", "Basic eDp5", "fr_x", "Bearer \xe9"]
)
async def test_request_without_valid_key_is_refused(idle_app: App, shown: str | None) -> None:
    headers: dict[bytes, bytes] = {} if shown is None else {b"authorization": shown.encode("latin-1")}
    response = await idle_app.http.post("/graphql", json=ROLE, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_anonymous_request_is_refused_before_document_is_parsed(idle_app: App) -> None:
    for body in (b"{", b'{"query": "{ nope }"}'):
        response = await idle_app.http.post("/graphql", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 401


async def test_authorization_scheme_is_case_insensitive(idle_app: App) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await ask(idle_app, authorization=f"{scheme}  {idle_app.keys.viewer} ")).status_code == 200


async def test_revoked_key_is_refused_at_once(idle_app: App) -> None:
    secret = await new_key(idle_app)
    assert await is_in(idle_app, secret)
    key = await idle_app.database.read(api_keys.by_secret, secret)
    assert key is not None
    await idle_app.database.write(api_keys.revoke, key.id)
    assert not await is_in(idle_app, secret)


async def test_key_expires_on_time(fake_clock: FakeClock, idle_app: App) -> None:
    secret = await new_key(idle_app, timedelta(hours=1))
    await fake_clock.advance(3_599)
    assert await is_in(idle_app, secret)
    await fake_clock.advance(1)
    assert not await is_in(idle_app, secret)


async def test_key_in_header_overrides_cookie(idle_app: App) -> None:
    cookie = {"cookie": f"flow_runs_session={idle_app.keys.admin}"}
    both = await ask(idle_app, authorization=f"Bearer {idle_app.keys.viewer}", **cookie)
    assert both.json()["data"]["viewer"]["role"] == "VIEWER"
    assert (await ask(idle_app, authorization="Bearer wrong", **cookie)).status_code == 401


async def test_browser_signs_in_with_key_and_signs_out(idle_app: App) -> None:
    response = await idle_app.http.post("/sign-in", json={"key": idle_app.keys.operator})
    assert response.status_code == 204
    cookie = response.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert (await ask(idle_app)).json()["data"]["viewer"]["role"] == "OPERATOR"
    assert (await idle_app.http.post("/sign-out")).status_code == 204
    assert (await ask(idle_app)).status_code == 401
    assert await is_in(idle_app, idle_app.keys.operator)


async def test_cookie_is_secure_under_https(idle_app: App) -> None:
    secure = BASE_URL.replace("http:", "https:")
    response = await idle_app.http.post(f"{secure}/sign-in", json={"key": idle_app.keys.viewer})
    assert "Secure" in response.headers["set-cookie"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"5", b"{}", b'{"key": 5}', b'{"key": ""}', b'{"key": "x"}', b'{"key": "\\ud800"}', b"[" * 9_999],
)
async def test_sign_in_requires_key(idle_app: App, body: bytes) -> None:
    response = await idle_app.http.post("/sign-in", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 401
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "set-cookie" not in response.headers


async def test_forms_of_other_sites_change_no_session(idle_app: App) -> None:
    body = json.dumps({"key": idle_app.keys.operator})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        response = await idle_app.http.post("/sign-in", content=body, headers={"content-type": content_type})
        assert (response.status_code, "set-cookie" in response.headers) == (415, False)
    # The browser keeps the cookie to itself.
    left = await idle_app.http.post("/sign-out")
    assert (left.status_code, "set-cookie" in left.headers) == (204, False)


@pytest.fixture
def sessions(idle_app: App) -> BrowserSessions:
    """The browser sessions of the application of `idle_app`."""
    return idle_app.sessions


async def test_sign_in_token_works_once(idle_app: App, sessions: BrowserSessions) -> None:
    address = f"/sign-in?token={sessions.issue_token()}"
    first = await idle_app.http.get(address)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(first.headers["set-cookie"].split("; "))
    viewer = (await ask(idle_app)).json()["data"]["viewer"]
    assert viewer == {"role": "ADMIN", "keyName": "browser session"}

    idle_app.http.cookies.clear()
    again = await idle_app.http.get(address)
    assert (again.status_code, "set-cookie" in again.headers) == (303, False)
    assert (await ask(idle_app)).status_code == 401


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong"])
async def test_invalid_token_does_not_sign_in(idle_app: App, query: str) -> None:
    response = await idle_app.http.get(f"/sign-in{query}")
    assert (response.status_code, "set-cookie" in response.headers) == (303, False)


async def test_sign_in_token_ends_after_an_hour(
    fake_clock: FakeClock, idle_app: App, sessions: BrowserSessions
) -> None:
    address = f"/sign-in?token={sessions.issue_token()}"
    fake_clock.jump(TOKEN_LIFETIME.total_seconds())
    response = await idle_app.http.get(address)
    assert (response.status_code, "set-cookie" in response.headers) == (303, False)


async def test_sign_out_ends_browser_session(idle_app: App, sessions: BrowserSessions) -> None:
    await idle_app.http.get(f"/sign-in?token={sessions.issue_token()}")
    secret = idle_app.http.cookies["flow_runs_session"]
    assert await is_in(idle_app, secret)
    await idle_app.http.post("/sign-out")
    assert not await is_in(idle_app, secret)


async def test_sign_out_without_browser_session_does_nothing(idle_app: App) -> None:
    assert (await idle_app.http.post("/sign-out")).status_code == 204


async def test_browser_session_expires(fake_clock: FakeClock, idle_app: App, sessions: BrowserSessions) -> None:
    await idle_app.http.get(f"/sign-in?token={sessions.issue_token()}")
    secret = idle_app.http.cookies["flow_runs_session"]
    fake_clock.jump(SESSION_LIFETIME.total_seconds())
    assert not await is_in(idle_app, secret)
