"""The signing secrets of webhooks: encrypted at rest, and decrypted when a call is checked."""

from uuid import UUID

from db import webhooks
from db.core.database import Database
from db.row_types import WebhookRow
from db.webhooks import SigningSecret
from engine.secrets.key_ring import KeyLostError, KeyRing, Sealed

BATCH = 100
"""Secrets that one transaction encrypts."""


def seal(keys: KeyRing, secret: str, webhook_id: UUID, project_id: UUID) -> Sealed:
    """Returns the signing secret of a webhook, encrypted.

    Raises:
        NoKeyError: the ring has no key.
    """
    return keys.seal(secret, _context(webhook_id, project_id))


def signing_secret(keys: KeyRing, webhook: WebhookRow) -> str | None:
    """Returns the signing secret of a webhook; None if its calls are not signed.

    Raises:
        KeyLostError: the key that encrypted it is missing.
    """
    return _opened(
        keys,
        SigningSecret(
            webhook.id,
            webhook.project_id,
            webhook.signature_secret,
            webhook.signature_key_id,
            webhook.signature_sealed,
        ),
    )


async def seal_all(database: Database, keys: KeyRing, *, plain: bool = False) -> tuple[int, int]:
    """Encrypts all signing secrets with the first key that it has not encrypted, with `plain` only those in plain text.

    Returns the number of those that it has encrypted, and of those that no key of the ring decrypts. Without a key
    nothing happens.
    """
    primary, after = keys.primary_id, None
    done = unreadable = 0
    if primary is None:
        return done, unreadable
    while found := await database.read(webhooks.secrets_not_sealed_by, primary, after, BATCH, plain=plain):
        changes = []
        for secret in found:
            try:
                text = _opened(keys, secret)
            except KeyLostError:
                unreadable += 1
            else:
                assert text is not None  # the query finds webhooks with secrets
                changes.append((secret, *seal(keys, text, secret.webhook_id, secret.project_id)))
        await database.write(webhooks.seal_secrets, changes)
        done += len(changes)
        after = found[-1].webhook_id
    return done, unreadable


def _opened(keys: KeyRing, secret: SigningSecret) -> str | None:
    if secret.sealed is None or secret.key_id is None:
        return secret.plain
    return keys.open(Sealed(secret.key_id, secret.sealed), _context(secret.webhook_id, secret.project_id))


def _context(webhook_id: UUID, project_id: UUID) -> str:
    return f"webhook {webhook_id} {project_id}"
