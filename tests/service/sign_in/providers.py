"""An OpenID provider that tests can make respond wrongly, and a browser that signs in there.

The real provider of tests/web/test_sign_in.py responds correctly; a broken or hostile one cannot be had.
"""

import hashlib
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domain.time import clock
from tests.support.app import App, run_app
from tests.support.processes.listener import answering

CLIENT_ID = "flow-runs"
CLIENT_SECRET = "a secret: with %/+ characters"
ROLES = '{"platform": "ADMIN@*", "ops": ["OPERATOR", "ADMIN@other"], "gone": "VIEWER@gone", "support": "VIEWER"}'


@dataclass
class Provider:
    """The provider. Tests change its fields to change its responses."""

    url: str = ""
    key: RSAKey = field(default_factory=cache(lambda: RSAKey.generate_key(2048, {"kid": "1"})))
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "ada", "name": "Ada L.", "groups": ["ops"]})
    user_info: dict[str, Any] = field(default_factory=lambda: {"sub": "ada"})
    metadata: dict[str, Any] = field(default_factory=dict)
    """Members of the metadata that replace the correct ones."""
    answers: dict[str, Callable[[], Response]] = field(default_factory=dict)
    """Responses that replace the correct ones, by path."""
    sign: Callable[[dict[str, Any]], str] | None = None
    requests: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, url: str) -> str:
        """Returns the query with which the browser returns after signing in at `url`."""
        params = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        assert (params["response_type"], params["client_id"]) == ("code", CLIENT_ID)
        assert params["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = params
        return str(httpx.QueryParams({"code": code, "state": params["state"]}))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.requests.append(request.url.path)
        answer = self.answers.get(request.url.path)
        response = answer() if answer is not None else await self._response(request)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        match request.url.path:
            case "/.well-known/openid-configuration":
                return JSONResponse(self._metadata())
            case "/keys":
                return JSONResponse({"keys": [{"kty": "XYZ"}, self.key.as_dict(private=False)]})
            case "/userinfo":
                assert request.headers["authorization"] == "Bearer access"
                return JSONResponse(self.user_info)
            case "/token":
                return self._token(request.headers, await request.form())
        return Response(status_code=404)

    def _metadata(self) -> dict[str, Any]:
        endpoints = {"authorization": "authorize", "token": "token", "userinfo": "userinfo", "end_session": "logout"}
        right = {f"{name}_endpoint": f"{self.url}/{path}" for name, path in endpoints.items()}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **right, **self.metadata}

    def _token(self, headers: Any, form: Any) -> Response:
        begun = self.codes.pop(form["code"], None)
        if begun is None:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert urlsafe_b64encode(digest).decode().rstrip("=") == begun["code_challenge"]
        assert form["redirect_uri"] == begun["redirect_uri"]
        if "client_secret" in form:
            assert (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        else:
            shown = b64decode(headers["authorization"].removeprefix("Basic ")).decode().split(":")
            assert [unquote_plus(text) for text in shown] == [CLIENT_ID, CLIENT_SECRET]
        now = int(clock.now().timestamp())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        id_token = self.sign(claims) if self.sign else jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": id_token})


def signed_by_client_secret(claims: dict[str, Any]) -> str:
    """An ID token whose key is the client's secret."""
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))


def unsigned(claims: dict[str, Any]) -> str:
    """An ID token without a signature."""
    signed = signed_by_client_secret(claims)
    header = urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return f"{header}.{signed.split('.')[1]}."


@asynccontextmanager
async def signing_in(database_url: str, **settings: Any) -> AsyncIterator[tuple[App, Provider]]:
    """A service whose people sign in through a provider."""
    provider = Provider()
    async with answering(provider) as provider.url:
        oidc = {
            "oidc_issuer": provider.url,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_roles": ROLES,
        }
        async with run_app(database_url, with_worker=False, **{**oidc, **settings}) as app:
            yield app, provider


async def begin(app: App, query: str = "") -> str:
    """Begins a sign-in; returns the URL at the provider."""
    begun = await app.http.get(f"/sign-in/oidc{query}")
    assert begun.status_code == 303, begun.text
    return begun.headers["location"]


async def sign_in(app: App, provider: Provider, query: str = "") -> httpx.Response:
    """Signs the browser of `app.http` in; returns the response with which it returns."""
    return await app.http.get(f"/sign-in/oidc/callback?{provider.authorize(await begin(app, query))}")


async def ask(app: App, text: str) -> Any:
    """Returns the `data` of a query with the cookie alone; None if it is refused."""
    response = await app.http.post("/graphql", json={"query": text})
    return None if response.status_code == 401 else response.json()["data"]
