"""The URLs of endpoints, which may hold tokens: encrypted at rest, and decrypted when they are shown or called."""

from typing import Protocol
from uuid import UUID

from db.core.database import Database
from db.deliveries import sealed as sealed_texts
from db.deliveries.sealed import ENCRYPTED_URL
from engine.secrets.key_ring import KeyRing, Sealed

BATCH = 100
"""URLs that one transaction encrypts."""


class StoredUrl(Protocol):
    """The columns of an endpoint that store its URL."""

    id: UUID
    url: str | None
    url_key_id: str | None
    url_sealed: str | None


def sealed_columns(keys: KeyRing, url: str | None, endpoint_id: UUID) -> dict[str, str | None]:
    """Returns the columns that store the URL of an endpoint, encrypted; None stands for the endpoint of callbacks.

    Raises:
        NoKeyError: the ring has no key.
    """
    if url is None:
        return {"url": None, "url_key_id": None, "url_sealed": None}
    sealed = keys.seal(url, _context(endpoint_id))
    return {"url": ENCRYPTED_URL, "url_key_id": sealed.key_id, "url_sealed": sealed.text}


def url_of(keys: KeyRing, endpoint: StoredUrl) -> str | None:
    """Returns the URL of an endpoint; None for the endpoint of callbacks.

    Raises:
        KeyLostError: the key that encrypted it is missing.
    """
    if endpoint.url != ENCRYPTED_URL:
        return endpoint.url
    assert endpoint.url_key_id is not None  # set together
    assert endpoint.url_sealed is not None
    return keys.open(Sealed(endpoint.url_key_id, endpoint.url_sealed), _context(endpoint.id))


async def seal_plain(database: Database, keys: KeyRing) -> int:
    """Encrypts the URLs that stand in clear with the first key; returns their number. Without a key nothing happens."""
    if keys.primary_id is None:
        return 0
    after, done = None, 0
    while found := await database.read(sealed_texts.plain_urls, after, BATCH):
        changes = [(plain, sealed_columns(keys, plain.url, plain.endpoint_id)) for plain in found]
        await database.write(sealed_texts.seal_urls, changes)
        done += len(changes)
        after = found[-1].endpoint_id
    return done


def _context(endpoint_id: UUID) -> str:
    return f"endpoint URL {endpoint_id}"
