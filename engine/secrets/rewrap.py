"""Encrypts all values again with the first key of the ring, so that older keys can be removed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from db import secrets
from db.core.database import Database
from db.deliveries import sealed as sealed_texts
from db.secrets import SealedValue
from engine.secrets import endpoint_urls, signing
from engine.secrets.key_ring import KeyLostError, KeyRing, NoKeyError, Sealed
from engine.secrets.run_secrets import output_context
from engine.secrets.store import sealed_of

BATCH = 100
"""Values that one transaction encrypts again."""


@dataclass(slots=True)
class Rewrapped:
    """The result of `rewrap`."""

    values: int = 0
    """Values of secrets, current and former, that the first key has encrypted."""
    outputs: int = 0
    """Redacted outputs of steps that the first key has encrypted."""
    unreadable: dict[UUID, SealedValue] = field(default_factory=dict)
    """Values that no key of the ring decrypts, by row."""
    texts: int = 0
    """Secrets and URLs of endpoints, URLs of callbacks and targets of alerts that the first key has encrypted."""
    unreadable_texts: int = 0
    """Secrets and URLs of endpoints, URLs of callbacks and targets of alerts that no key of the ring decrypts."""
    signing_secrets: int = 0
    """Signing secrets of webhooks that the first key has encrypted."""
    unreadable_signing_secrets: int = 0
    """Signing secrets that no key of the ring decrypts."""
    unreadable_outputs: int = 0
    """Redacted outputs that no key of the ring decrypts."""

    def problems(self) -> Iterator[str]:
        """Yields a line for each text, or kind of texts, that could not be encrypted again."""
        for value in self.unreadable.values():
            yield f"{value.name}: the key {value.key_id} is missing, or the stored text was damaged."
        if self.unreadable_outputs:
            yield f"{self.unreadable_outputs} redacted outputs of steps were encrypted by keys that are missing."
        if self.unreadable_signing_secrets:
            yield f"{self.unreadable_signing_secrets} signing secrets of webhooks were encrypted by missing keys."
        if self.unreadable_texts:
            yield f"{self.unreadable_texts} texts of endpoints, callbacks and alerts were encrypted by missing keys."


async def rewrap(database: Database, keys: KeyRing) -> Rewrapped:
    """Encrypts every text of another key with the first key. Services may continue to run.

    Raises:
        NoKeyError: the ring has no key.
    """
    if keys.primary_id is None:
        raise NoKeyError
    done = Rewrapped()
    await _rewrap_values(database, keys, keys.primary_id, done)
    await _rewrap_outputs(database, keys, keys.primary_id, done)
    done.texts = await endpoint_urls.seal_plain(database, keys)
    await _rewrap_texts(database, keys, keys.primary_id, done)
    done.signing_secrets, done.unreadable_signing_secrets = await signing.seal_all(database, keys)
    return done


async def _rewrap_values(database: Database, keys: KeyRing, primary: str, done: Rewrapped) -> None:
    while True:
        found = await database.read(secrets.not_sealed_by, {primary}, BATCH + len(done.unreadable))
        values = [value for value in found if value.row_id not in done.unreadable]
        if not values:
            return
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


async def _rewrap_outputs(database: Database, keys: KeyRing, primary: str, done: Rewrapped) -> None:
    after: tuple[UUID, int] | None = None
    while steps := await database.read(secrets.steps_not_sealed_by, primary, after, BATCH):
        changes = []
        for step in steps:
            key_id, _, text = step.sealed.partition(":")
            context = output_context(step.project_id, step.name)
            try:
                resealed = keys.seal(keys.open(Sealed(key_id, text), context), context)
            except KeyLostError:
                done.unreadable_outputs += 1
            else:
                changes.append((step, f"{resealed.key_id}:{resealed.text}"))
        await database.write(secrets.reseal_steps, changes)
        done.outputs += len(changes)
        after = (steps[-1].run_id, steps[-1].position)


async def _rewrap_texts(database: Database, keys: KeyRing, primary: str, done: Rewrapped) -> None:
    after: tuple[str, UUID] | None = None
    while texts := await database.read(sealed_texts.not_sealed_by, primary, after, BATCH):
        changes = []
        for text in texts:
            try:
                resealed = keys.seal(keys.open(Sealed(text.key_id, text.sealed), text.context), text.context)
            except KeyLostError:
                done.unreadable_texts += 1
            else:
                changes.append((text, resealed.key_id, resealed.text))
        await database.write(sealed_texts.reseal, changes)
        done.texts += len(changes)
        after = (texts[-1].place, texts[-1].row_id)
