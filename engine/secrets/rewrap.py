"""Encrypts all values again with the first key of the ring, so that older keys can be removed."""

from dataclasses import dataclass, field
from uuid import UUID

from db import secrets
from db.core.database import Database
from db.secrets import SealedValue
from engine.secrets.key_ring import KeyLostError, KeyRing
from engine.secrets.store import sealed_of

BATCH = 100
"""Values that one transaction encrypts again."""


@dataclass(slots=True)
class Rewrapped:
    """What `rewrap` has done."""

    values: int = 0
    """Values that the first key has encrypted."""
    unreadable: dict[UUID, SealedValue] = field(default_factory=dict)
    """Values that no key of the ring decrypts, by row."""


async def rewrap(database: Database, keys: KeyRing) -> Rewrapped:
    """Encrypts every value with the first key that another key has encrypted. Services may run meanwhile.

    Raises:
        NoKeyError: the ring has no key.
    """
    done = Rewrapped()
    primary = {keys.primary_id or ""}
    while True:
        limit = BATCH + len(done.unreadable)
        found = await database.read(secrets.not_sealed_by, primary, limit)
        values = [value for value in found if value.row_id not in done.unreadable]
        if not values:
            return done
        changes = []
        for value in values:
            sealed, context = sealed_of(value)
            try:
                resealed = keys.seal(keys.open(sealed, context), context)
            except KeyLostError:
                done.unreadable[value.row_id] = value
            else:
                changes.append((value, resealed.key_id, resealed.text))
        await database.write(secrets.reseal, changes)
        done.values += len(changes)
