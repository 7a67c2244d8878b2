"""The OpenID provider: authorization codes with PKCE, ID tokens, and the end of its sessions."""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry

from domain.errors import FlowRunsError, SignInExpiredError
from domain.time import clock
from service.sign_in.config import OpenIdConfig
from service.sign_in.identity import Identity, claim_at, identity_of
from service.sign_in.metadata import ProviderMetadata, parse_metadata, well_known_url
from service.sign_in.provider_http import TIMEOUT_SECONDS, ProviderHttp, invalid_response

T = TypeVar("T")
MAX_AGE = timedelta(hours=1)
"""Time for which metadata and keys are used before they are read again. A missing key makes the service read the keys
at once."""
LEEWAY_SECONDS = 60
"""Seconds by which the clocks of provider and service may differ."""


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """The secrets of a sign-in, which only the browser and the service know until its end."""

    state: str
    nonce: str
    code_verifier: str

    @classmethod
    def new(cls) -> "SignInAttempt":
        """Returns an attempt of random values, 256 bits each."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The result of a sign-in."""

    identity: Identity
    id_token: str


class _Cached(Generic[T]):
    """A value that is read again when it is older than `MAX_AGE`. Simultaneous requests share one read."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._reading: asyncio.Task[T] | None = None
        self._read_at: datetime | None = None
        self.last: T | None = None
        """The latest value, of any age."""

    async def get(self) -> T:
        """Returns the value; reads it if it is older than `MAX_AGE`."""
        is_fresh = self._read_at is not None and self._read_at <= clock.now() < self._read_at + MAX_AGE
        return self.last if is_fresh and self.last is not None else await self.read()

    async def read(self) -> T:
        """Reads the value again, and returns it."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_now())
            self._reading.add_done_callback(self._end_read)
        return await asyncio.shield(self._reading)

    async def _read_now(self) -> T:
        read_at = clock.now()
        self.last = await self._read()
        self._read_at = read_at
        return self.last

    def _end_read(self, done: "asyncio.Task[T]") -> None:
        self._reading = None
        if not done.cancelled():
            done.exception()  # marks it as retrieved: the requests that waited may have been cancelled


class OpenIdProvider:
    """An OpenID provider, and this service as its client. Belongs to one event loop."""

    def __init__(self, config: OpenIdConfig, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._config = config
        self._http = ProviderHttp(timeout_seconds)
        self._metadata = _Cached(self._read_metadata)
        self._keys = _Cached(self._read_keys)
        self._client = OAuth2Client(
            session=None, client_id=config.client_id, scope=config.scope, code_challenge_method="S256"
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def _read_metadata(self) -> ProviderMetadata:
        return parse_metadata(self._config.issuer, await self._http.get(well_known_url(self._config.issuer)))

    async def _read_keys(self) -> Sequence[Key]:
        found = (await self._http.get((await self._metadata.get()).jwks_uri)).get("keys")
        if not isinstance(found, list):
            raise invalid_response("the key set of the provider has no keys")
        return [key for value in found if (key := _verification_key(value)) is not None]

    async def check(self) -> None:
        """Reads the metadata.

        Raises:
            IdentityProviderUnavailableError, IdentityProviderInvalidError.
        """
        await self._metadata.get()

    async def authorization_url(self, attempt: SignInAttempt, redirect_uri: str, prompt: str | None) -> str:
        """Returns the URL at which the browser begins a sign-in.

        Raises:
            IdentityProviderUnavailableError, IdentityProviderInvalidError.
        """
        more = {"prompt": prompt} if prompt else {}
        # Read each time, so that no browser is sent to an unavailable provider.
        metadata = await self._metadata.read()
        url: str
        url, _ = self._client.create_authorization_url(
            metadata.authorization_endpoint,
            state=attempt.state,
            nonce=attempt.nonce,
            code_verifier=attempt.code_verifier,
            redirect_uri=redirect_uri,
            **more,
        )
        return url

    async def check_sender(self, issuer: str | None) -> None:
        """Checks the `iss` of the redirect by which the browser returned: another provider is refused (RFC 9207).

        Raises:
            IdentityProviderInvalidError: it is missing or wrong.
            IdentityProviderUnavailableError.
        """
        if issuer != self._config.issuer and (issuer is not None or (await self._metadata.get()).sends_issuer):
            raise invalid_response(f"the browser returned from {issuer!r}")

    async def finish(self, attempt: SignInAttempt, code: str, redirect_uri: str) -> SignedIn:
        """Returns the person who has signed in, in exchange for the code with which the browser returned.

        Raises:
            SignInExpiredError: the code was used before, or has expired.
            IdentityProviderUnavailableError, IdentityProviderInvalidError.
        """
        metadata = await self._metadata.get()
        tokens = await self._exchange(metadata, attempt, code, redirect_uri)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise invalid_response("no ID token")
        claims = await self._verified(id_token, metadata, attempt.nonce, access_token)
        if claim_at(claims, self._config.groups_claim) is None and metadata.userinfo_endpoint and access_token:
            claims = {**await self._user_info(metadata.userinfo_endpoint, access_token, claims["sub"]), **claims}
        return SignedIn(identity_of(self._config.issuer, claims, self._config.groups_claim), id_token)

    async def _exchange(
        self, metadata: ProviderMetadata, attempt: SignInAttempt, code: str, redirect_uri: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.code_verifier,
        }
        headers: dict[str, str] = {}
        client_id, secret = self._config.client_id, self._config.client_secret
        if secret and not metadata.secret_in_form:
            # Encoded as RFC 6749 requires, so that the secret may contain any character.
            credentials = f"{quote_plus(client_id)}:{quote_plus(secret)}"
            headers["authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        else:
            form |= {"client_id": client_id} | ({"client_secret": secret} if secret else {})
        status, tokens = await self._http.post_form(metadata.token_endpoint, form, headers)
        if tokens.get("error") == "invalid_grant":
            raise SignInExpiredError
        if status != 200 or "error" in tokens:
            raise invalid_response(
                f"the token endpoint refused: {tokens.get('error')} {tokens.get('error_description')}"
            )
        return tokens

    async def _verified(
        self, id_token: str, metadata: ProviderMetadata, nonce: str, access_token: object
    ) -> dict[str, Any]:
        """Returns the claims of an ID token.

        Raises:
            IdentityProviderInvalidError: its signature or one of its claims is invalid.
        """
        try:
            # The provider may have new keys, or may have withdrawn old ones.
            token = _signed_by(id_token, await self._keys.get(), metadata.algorithms) or _signed_by(
                id_token, await self._keys.read(), metadata.algorithms
            )
            if token is None:
                raise invalid_response("no key of the provider fits the signature of the ID token")
            expected = {"iss": {"value": self._config.issuer}, "aud": {"value": self._config.client_id}}
            params = {"nonce": nonce, "client_id": self._config.client_id}
            if isinstance(access_token, str):
                params["access_token"] = access_token
            claims = CodeIDToken(token.claims, token.header, expected, params)
            claims.validate(now=int(clock.now().timestamp()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            raise invalid_response(f"the ID token is invalid: {error}") from None
        return dict(claims)

    async def _user_info(self, endpoint: str, access_token: object, subject: str) -> dict[str, Any]:
        claims = await self._http.get(endpoint, {"authorization": f"Bearer {access_token}"})
        if claims.get("sub") != subject:
            raise invalid_response("the userinfo endpoint described another person")
        return claims

    async def end_session_url(self, id_token: str | None, return_to: str) -> str | None:
        """Returns the URL at which the browser ends its session with the provider; None if there is none.

        Never raises: people must be able to sign out of the service while the provider is unavailable.
        """
        try:
            metadata = self._metadata.last or await self._metadata.get()
        except FlowRunsError:
            return None
        if metadata.end_session_endpoint is None:
            return None
        params = {"client_id": self._config.client_id, "post_logout_redirect_uri": return_to}
        if id_token is not None:
            params["id_token_hint"] = id_token
        url: str = add_params_to_uri(metadata.end_session_endpoint, list(params.items()))
        return url


def _verification_key(value: object) -> Key | None:
    """Returns a key of a key set; None for keys of an unknown kind or another use than signatures."""
    if not isinstance(value, dict) or value.get("use", "sig") != "sig" or value.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        return import_key(value)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _signed_by(id_token: str, keys: Sequence[Key], algorithms: Sequence[str]) -> jwt.Token | None:
    """Returns the token if one of the keys has signed it; None otherwise.

    Raises:
        JoseError, ValueError: it is not a signed token.
    """
    registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
    for key in keys:
        try:
            return jwt.decode(id_token, key=key, registry=registry)
        except JoseError:
            continue
    return None
