"""Requests of pages of other origins, as browsers send them. tests/web has the same with a real browser."""

from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from service.settings import Settings
from tests.support.app import App, run_app

ORIGIN = "https://ui.example"
OTHER = "https://evil.example"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-apollo-operation-name",
}
ALLOWED = "access-control-allow-origin"
CREDENTIALS = "access-control-allow-credentials"
pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


async def preflight(app: App, origin: str, **headers: str) -> httpx.Response:
    return await app.http.options("/graphql", headers={"origin": origin, **PREFLIGHT, **headers})


async def ask(app: App, origin: str, key: str | None = None) -> httpx.Response:
    headers = {"origin": origin, "authorization": f"Bearer {key or app.keys.admin}"}
    return await app.http.post("/graphql", json={"query": "{ viewer { role } }"}, headers=headers)


async def test_listed_origins_are_allowed_and_no_others(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, cors_origins=f"http://x.example:3000, {ORIGIN}") as app:
        allowed = await preflight(app, ORIGIN)
        assert (allowed.status_code, allowed.headers[ALLOWED]) == (200, ORIGIN)
        assert allowed.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
        assert allowed.headers["access-control-max-age"] == "7200"
        assert CREDENTIALS not in allowed.headers
        assert "Origin" in allowed.headers["vary"]
        for key in (None, "wrong"):  # a page can read an error too
            response = await ask(app, ORIGIN, key)
            assert response.headers[ALLOWED] == ORIGIN
            assert "Origin" in response.headers["vary"]
            exposed = response.headers["access-control-expose-headers"]
            assert {"x-request-id", "retry-after", "content-range"} <= set(exposed.split(", "))
            assert response.json().keys() == ({"errors"} if key else {"data"})
        large = await app.http.post("/sign-in", content=b" " * 5_000_000, headers={"origin": ORIGIN})
        assert (large.status_code, large.headers[ALLOWED]) == (413, ORIGIN)
        assert "x-request-id" in large.headers
        for origin in (
            OTHER,
            "null",
            "https://ui.example.evil.example",
            "http://ui.example",
            "https://ui.example:8443",
        ):
            refused = await preflight(app, origin)
            assert refused.status_code == 400
            assert ALLOWED not in refused.headers
            assert ALLOWED not in (await ask(app, origin)).headers
        # Browsers ask also before a HEAD with a key, by which pages learn the size of a file.
        for method, status in (("HEAD", 200), ("DELETE", 400)):
            answer = await preflight(app, ORIGIN, **{"access-control-request-method": method})
            assert answer.status_code == status


async def test_every_origin_is_allowed_without_cookies(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, cors_origins="*") as app:
        for response in (await preflight(app, OTHER), await ask(app, OTHER)):
            assert (response.status_code, response.headers[ALLOWED]) == (200, "*")
            assert CREDENTIALS not in response.headers


async def test_cookies_of_listed_origins_count_if_the_operator_allows_them(database_url: str) -> None:
    async with run_app(database_url, with_worker=False, cors_origins=ORIGIN, cors_credentials=True) as app:
        for response in (await preflight(app, ORIGIN), await ask(app, ORIGIN)):
            assert (response.headers[ALLOWED], response.headers[CREDENTIALS]) == (ORIGIN, "true")
        assert ALLOWED not in (await ask(app, OTHER)).headers


async def test_no_other_origin_is_allowed_by_default(idle_app: App) -> None:
    assert (await preflight(idle_app, ORIGIN)).status_code == 405
    assert ALLOWED not in (await ask(idle_app, ORIGIN)).headers


@pytest.mark.parametrize(
    "settings",
    [
        {"cors_origins": "ui.example"},
        {"cors_origins": "https://ui.example/"},
        {"cors_origins": "https://*.example"},
        {"cors_origins": "null"},
        {"cors_origins": "https://ui.example:443"},
        {"cors_origins": "https://UI.example"},
        {"cors_origins": "*", "cors_credentials": True},
        {"cors_origins": f"{ORIGIN},*", "cors_credentials": True},
    ],
)
def test_origins_that_no_browser_sends_are_refused(settings: dict[str, Any], dialect: str) -> None:
    with pytest.raises(ValidationError, match=r"origin|ORIGINS"):
        Settings(**settings)
