"""The person who has signed in, as the claims of the identity provider describe them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from domain.actor import Actor, ActorKind
from service.sign_in.provider_http import invalid_response

MAX_NAME = 200
"""Characters of a name that are stored."""
MAX_SUBJECT = 255
"""Largest length of a subject in characters, by OpenID Connect."""
_NAMESPACE = UUID("6b0f5a0e-6a52-4d0c-9a43-5a6b6f1f9f37")
"""The namespace of the IDs of people."""
_NAME_CLAIMS = ("name", "preferred_username", "email")


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as the provider described it at this sign-in."""

    actor: Actor
    groups: frozenset[str]


def identity_of(issuer: str, claims: Mapping[str, Any], groups_claim: str) -> Identity:
    """Returns the person whom the claims describe.

    The ID derives from issuer and subject, so it is the same at each sign-in, even under another name.

    Raises:
        IdentityProviderInvalidError: the claims have no usable subject.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise invalid_response("the ID token has no usable subject")
    user_id = uuid5(_NAMESPACE, f"{issuer}\n{subject}")
    names = (_cleaned(claims.get(name)) for name in (*_NAME_CLAIMS, "sub"))
    name = next(filter(None, names), str(user_id))
    return Identity(Actor(ActorKind.USER, user_id, name), frozenset(_groups(claim_at(claims, groups_claim))))


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """Returns the claim of this name, or else the one at this path through objects; None if there is none."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _groups(claim: Any) -> list[str]:
    """Returns the groups in a claim: a list of names, one name, or an object with the names as its members."""
    listed = [claim] if isinstance(claim, str) else claim if isinstance(claim, list | dict) else []
    return [each for each in listed if isinstance(each, str)]


def _cleaned(name: Any) -> str:
    """Returns a name without characters that cannot be shown or stored."""
    return "".join(each for each in name if each.isprintable()).strip()[:MAX_NAME] if isinstance(name, str) else ""
