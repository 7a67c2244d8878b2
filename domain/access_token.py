"""Access tokens: what a backend hands to a browser, so that it reads some runs and nothing else.

A token is a JSON Web Token, signed by HMAC-SHA-256. It names the API key that created it and holds its filter; nothing
of it is stored but its revocation. It is not encrypted: its holder can read the filter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import orjson

from domain import ids
from domain.errors import InvalidIdError, TokenKeysMissingError
from domain.ids import IdKind

MAX_LIFETIME = timedelta(days=1)
"""The longest life of a token. A page asks its backend for the next one."""
MIN_KEY_LENGTH = 32
"""Characters of a signing key: HMAC-SHA-256 needs as many bytes."""
_ALGORITHM = "HS256"
_ISSUER = "flow-runs"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a token says."""

    id: UUID
    key_id: UUID
    """The API key that created it; the token ends with it."""
    filter_text: str
    """The filter of its runs, as JSON text of the schema's `FlowRunFilter`."""
    payloads: bool
    """False: it has no sight of inputs, outputs, details of errors, logs and files."""
    expires_at: datetime
    """In whole seconds."""


class TokenKeys:
    """The keys that sign tokens: the first one signs, all of them verify."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)

    def sign(self, token: AccessToken) -> str:
        """Returns the text of a token.

        Raises:
            TokenKeysMissingError: there is no key.
        """
        if not self._keys:
            raise TokenKeysMissingError
        claims = {
            "iss": _ISSUER,
            "sub": ids.encode(IdKind.API_KEY, token.key_id),
            "jti": ids.encode(IdKind.ACCESS_TOKEN, token.id),
            "exp": int(token.expires_at.timestamp()),
            "filter": orjson.loads(token.filter_text),
            "payloads": token.payloads,
        }
        return jwt.encode(claims, self._keys[0], _ALGORITHM)

    def verified(self, text: str) -> AccessToken | None:
        """Returns what a token says, expired or not; None if no key has signed it."""
        for key in self._keys:
            try:
                # The clock of the service decides about the expiry, see `AccessToken.expires_at`.
                options = {"verify_exp": False, "require": ["exp", "sub", "jti"]}
                claims = jwt.decode(text, key, [_ALGORITHM], options=options, issuer=_ISSUER)  # type: ignore[arg-type]
                return AccessToken(
                    id=ids.decode(IdKind.ACCESS_TOKEN, claims["jti"]),
                    key_id=ids.decode(IdKind.API_KEY, claims["sub"]),
                    filter_text=orjson.dumps(claims["filter"]).decode(),
                    payloads=claims["payloads"] is True,
                    expires_at=datetime.fromtimestamp(claims["exp"], UTC),
                )
            except (jwt.InvalidTokenError, InvalidIdError, KeyError, TypeError, ValueError, OverflowError):
                continue
        return None


NO_TOKEN_KEYS = TokenKeys()
"""Signs no token, and finds none valid."""
