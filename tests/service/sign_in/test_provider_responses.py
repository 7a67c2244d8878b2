"""A provider that is unavailable, slow or wrong: each response leads to one error, and no session begins."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from joserfc.jwk import RSAKey
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from domain.errors import FlowRunsError, IdentityProviderInvalidError, IdentityProviderUnavailableError
from domain.time import clock
from service.sign_in import grants
from service.sign_in.config import OpenIdConfig
from service.sign_in.identity import Identity
from service.sign_in.provider import OpenIdProvider, SignInAttempt
from service.sign_in.provider_http import TIMEOUT_SECONDS
from tests.service.sign_in.providers import (
    CLIENT_ID,
    CLIENT_SECRET,
    ROLES,
    Provider,
    signed_by_client_secret,
    unsigned,
)
from tests.support.processes.listener import answering

METADATA = "/.well-known/openid-configuration"
REDIRECT_URI = "https://ops.example/sign-in/oidc/callback"
RIGHT_CLAIMS = {"sub": "ada", "groups": ["ops"]}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider on a port."""
    found = Provider()
    async with answering(found) as found.url:
        yield found


@asynccontextmanager
async def client_of(provider: Provider, timeout_seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[OpenIdProvider]:
    """The service as a client of the provider, which it has not asked yet."""
    lifetime = timedelta(hours=1)
    config = OpenIdConfig(
        provider.url, CLIENT_ID, CLIENT_SECRET, "openid", "groups", grants.parse(ROLES), lifetime, "Provider"
    )
    client = OpenIdProvider(config, timeout_seconds)
    try:
        yield client
    finally:
        await client.close()


async def identity(client: OpenIdProvider, provider: Provider) -> Identity:
    """Signs in; returns who it was."""
    attempt = SignInAttempt.new()
    url = await client.authorization_url(attempt, REDIRECT_URI, None)
    code = dict(parse_qsl(provider.authorize(url)))["code"]
    return (await client.finish(attempt, code, REDIRECT_URI)).identity


async def error_of(provider: Provider) -> type[FlowRunsError] | None:
    """Returns the error of a sign-in by a client that knows nothing of the provider yet; None if it succeeds."""
    try:
        async with client_of(provider) as client:
            await identity(client, provider)
    except FlowRunsError as error:
        return type(error)
    return None


async def endless() -> AsyncIterator[bytes]:
    for _ in range(100):  # of 64 KiB each: more than is read
        yield b" " * 65_536


@pytest.mark.parametrize("path", [METADATA, "/token", "/keys"])
async def test_each_unusable_answer_has_one_error(provider: Provider, path: str) -> None:
    broken: list[Callable[[], Response]] = [
        lambda: Response("<html>", media_type="text/html"),
        lambda: JSONResponse([]),
        lambda: RedirectResponse("https://elsewhere.example/"),
        lambda: StreamingResponse(endless()),
        lambda: JSONResponse({}, status_code=404),
        lambda: Response(b"no gzip", headers={"content-encoding": "gzip"}),
    ]
    for answer in broken:
        provider.answers = {path: answer}
        assert await error_of(provider) is IdentityProviderInvalidError
    provider.answers = {path: lambda: Response(status_code=503)}
    assert await error_of(provider) is IdentityProviderUnavailableError
    provider.answers = {}
    assert await error_of(provider) is None


async def test_metadata_that_is_wrong_is_not_used(provider: Provider) -> None:
    for changed in (
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"token_endpoint": None},
        {"jwks_uri": "http://keys.example/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://[bad"},
        {"authorization_endpoint": 5},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
    ):
        provider.metadata = changed
        assert await error_of(provider) is IdentityProviderInvalidError, changed
    assert "/token" not in provider.requests


async def test_tokens_that_are_wrong_are_refused(provider: Provider) -> None:
    for changed in (
        {"iss": "https://other.example"},
        {"iss": [provider.url]},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"exp": 1},
        {"exp": "soon"},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 5},
        {"sub": "x" * 256},
        {"at_hash": "of another access token"},
    ):
        provider.claims = {**RIGHT_CLAIMS, **changed}
        assert await error_of(provider) is IdentityProviderInvalidError, changed
    provider.claims = {**RIGHT_CLAIMS}
    for sign in (unsigned, signed_by_client_secret, lambda _: "nonsense", lambda _: "a.b.c", lambda _: "é"):
        provider.sign = sign
        assert await error_of(provider) is IdentityProviderInvalidError
    provider.sign = None
    tokens: dict[str, Any]
    for tokens in ({"error": "invalid_client"}, {"access_token": "access"}, {"id_token": 5}, {}):
        provider.answers = {"/token": lambda tokens=tokens: JSONResponse(tokens)}  # type: ignore[misc]
        assert await error_of(provider) is IdentityProviderInvalidError
    provider.answers = {}
    assert await error_of(provider) is None


async def test_clocks_may_differ_by_a_minute(provider: Provider) -> None:
    now = int(clock.now().timestamp())
    for claim, seconds, is_accepted in (
        ("exp", -30, True),
        ("exp", -90, False),
        ("iat", 30, True),
        ("iat", 90, False),
        ("nbf", 30, True),
        ("nbf", 90, False),
    ):
        provider.claims = {**RIGHT_CLAIMS, claim: now + seconds}
        assert (await error_of(provider) is None) is is_accepted, (claim, seconds)


async def test_new_key_of_the_provider_is_found_at_once(provider: Provider) -> None:
    async with client_of(provider) as client:
        await identity(client, provider)
        await identity(client, provider)
        assert provider.requests.count("/keys") == 1
        for key_id in ("2", "1"):  # a new one, and another one under a name that is known
            provider.key = RSAKey.generate_key(2048, {"kid": key_id})
            assert (await identity(client, provider)).groups == {"ops"}
        published = provider.key.as_dict(private=False)
        provider.key = RSAKey.generate_key(2048, {"kid": "1"})
        provider.answers = {"/keys": lambda: JSONResponse({"keys": [published]})}
        with pytest.raises(IdentityProviderInvalidError):
            await identity(client, provider)


async def test_person_keeps_their_id_under_another_name(provider: Provider) -> None:
    async with client_of(provider) as client:
        first = await identity(client, provider)
        provider.claims |= {"name": "Ada King", "groups": ["support"]}
        second = await identity(client, provider)
        provider.claims["sub"] = "eve"
        third = await identity(client, provider)
    assert first.actor.id == second.actor.id != third.actor.id
    assert (first.actor.name, second.actor.name) == ("Ada L.", "Ada King")


async def test_answer_that_names_another_provider_is_refused(provider: Provider) -> None:
    async with client_of(provider) as client:
        await client.check_sender(None)
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    async with client_of(provider) as client:
        for issuer in (None, "https://other.example"):
            with pytest.raises(IdentityProviderInvalidError):
                await client.check_sender(issuer)
        await client.check_sender(provider.url)


async def test_silent_provider_is_not_waited_for(provider: Provider) -> None:
    never = asyncio.Event()

    class Silence(Response):
        async def __call__(self, *_: Any) -> None:
            await never.wait()

    provider.answers = {METADATA: Silence}
    async with client_of(provider, timeout_seconds=0.05) as client:
        with pytest.raises(IdentityProviderUnavailableError):
            await client.check()
        assert await client.end_session_url(None, "https://ops.example/") is None
        never.set()
        provider.answers = {}


async def test_many_sign_ins_at_once_ask_for_the_metadata_once(provider: Provider) -> None:
    async with client_of(provider) as client:
        await asyncio.gather(*(client.check() for _ in range(20)))
    assert provider.requests == [METADATA]


async def test_secret_goes_into_the_form_if_the_provider_takes_it_there_alone(provider: Provider) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert await error_of(provider) is None
