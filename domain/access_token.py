"""Access tokens: credentials that a backend hands to a browser, so that the browser can read some runs and nothing
else.

A token is a JSON Web Token, signed by HMAC-SHA-256. It names the API key that created it and holds its filter. The
service stores nothing about a token except its revocation. Tokens are not encrypted: the holder can read the filter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import jwt
import orjson

from domain import ids
from domain.errors import InvalidIdError, TokenKeysMissingError
from domain.ids import IdKind

T = TypeVar("T")

MAX_LIFETIME = timedelta(days=1)
"""Longest lifetime of a token. A page asks its backend for the next token."""
MIN_KEY_LENGTH = 32
"""Characters of a signing key: HMAC-SHA-256 needs as many bytes."""
_ALGORITHM = "HS256"
_ISSUER = "flow-runs"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The content of an access token."""

    id: UUID
    key_id: UUID
    """The API key that created the token. The token ends when the key is revoked or expires."""
    filter_text: str
    """The filter of its runs, as JSON text of the schema's `FlowRunFilter`."""
    payloads: bool
    """False: the token cannot read inputs, outputs, details of errors, logs and files."""
    expires_at: datetime
    """The instant at which the token expires, in whole seconds."""


class TokenKeys:
    """The keys for tokens: the first one signs, all of them verify."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)

    def sign(self, token: AccessToken) -> str:
        """Returns the text of a token.

        Raises:
            TokenKeysMissingError: there is no key.
        """
        claims = {
            "sub": ids.encode(IdKind.API_KEY, token.key_id),
            "jti": ids.encode(IdKind.ACCESS_TOKEN, token.id),
            "exp": int(token.expires_at.timestamp()),
            "filter": orjson.loads(token.filter_text),
            "payloads": token.payloads,
        }
        return self.sign_claims(_ISSUER, claims)

    def verified(self, text: str) -> AccessToken | None:
        """Returns the content of a token, which may have expired; None if no key has signed it."""
        return self.verified_claims(_ISSUER, text, _token_of)

    def sign_claims(self, issuer: str, claims: Mapping[str, Any]) -> str:
        """Returns the text of a JSON Web Token. `issuer` distinguishes credentials of different kinds.

        Raises:
            TokenKeysMissingError: there is no key.
        """
        if not self._keys:
            raise TokenKeysMissingError
        return jwt.encode({"iss": issuer, **claims}, self._keys[0], _ALGORITHM)

    def verified_claims(self, issuer: str, text: str, read: Callable[[Mapping[str, Any]], T]) -> T | None:
        """Returns what `read` makes of the claims of a token, which may have expired; None if no key has signed them
        for `issuer`, or if they cannot be read."""
        for key in self._keys:
            try:
                # The clock of the service decides about the expiry, see `AccessToken.expires_at`.
                options = {"verify_exp": False, "require": ["exp", "sub", "jti"]}
                return read(jwt.decode(text, key, [_ALGORITHM], options=options, issuer=issuer))  # type: ignore[arg-type]
            except (jwt.InvalidTokenError, InvalidIdError, KeyError, TypeError, ValueError, OverflowError):
                continue
        return None


def _token_of(claims: Mapping[str, Any]) -> AccessToken:
    return AccessToken(
        id=ids.decode(IdKind.ACCESS_TOKEN, claims["jti"]),
        key_id=ids.decode(IdKind.API_KEY, claims["sub"]),
        filter_text=orjson.dumps(claims["filter"]).decode(),
        payloads=claims["payloads"] is True,
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )


NO_TOKEN_KEYS = TokenKeys()
"""Keys of a service without a key: they sign no token, and no token is valid."""
