"""Answer links: signed URLs under which a person without an API key answers one input request.

A link is a JSON Web Token, signed with the keys of access tokens. The service stores nothing about it: a request is
answered once, so no link to it can be used twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from domain import ids
from domain.access_token import TokenKeys
from domain.actor import Actor, ActorKind
from domain.ids import IdKind

MAX_LIFETIME = timedelta(days=30)
"""Longest lifetime of a link. People answer after a holiday; a link in an old e-mail should not work for ever."""
_ISSUER = "flow-runs/answers"
"""Another one than that of access tokens, so that neither passes as the other."""


@dataclass(frozen=True, slots=True)
class AnswerLink:
    """The content of a link."""

    id: UUID
    key_id: UUID
    """The API key that created the link. The link ends when the key is revoked or expires."""
    request_id: UUID
    recipient: str | None
    """The person for whom the link is; None: unknown."""
    expires_at: datetime
    """The instant at which the link expires, in whole seconds."""

    @property
    def actor(self) -> Actor:
        """Returns the holder of the link as the actor of an answer."""
        return Actor(ActorKind.ANSWER_LINK, self.id, self.recipient)


def sign(keys: TokenKeys, link: AnswerLink) -> str:
    """Returns the text of a link.

    Raises:
        TokenKeysMissingError: there is no key.
    """
    claims = {
        "sub": ids.encode(IdKind.API_KEY, link.key_id),
        "jti": ids.encode(IdKind.ANSWER_LINK, link.id),
        "req": ids.encode(IdKind.INPUT_REQUEST, link.request_id),
        "name": link.recipient,
        "exp": int(link.expires_at.timestamp()),
    }
    return keys.sign_claims(_ISSUER, claims)


def verified(keys: TokenKeys, text: str) -> AnswerLink | None:
    """Returns the content of a link, which may have expired; None if no key has signed it."""
    return keys.verified_claims(_ISSUER, text, _link_of)


def _link_of(claims: Mapping[str, Any]) -> AnswerLink:
    return AnswerLink(
        id=ids.decode(IdKind.ANSWER_LINK, claims["jti"]),
        key_id=ids.decode(IdKind.API_KEY, claims["sub"]),
        request_id=ids.decode(IdKind.INPUT_REQUEST, claims["req"]),
        recipient=claims["name"],
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )
