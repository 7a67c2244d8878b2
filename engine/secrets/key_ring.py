"""The keys that encrypt secrets at rest.

A ring has several keys: the first one encrypts, all of them decrypt. So a key can be replaced without downtime: the new
key is added behind the old one in every process, then moved to the front, then all texts are encrypted again
(`engine.secrets.rewrap`), then the old key is removed.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.secrets import KEY_ID_LENGTH

KEY_BYTES = 32
"""Bytes of a key: AES-256."""
_NONCE_BYTES = 12
"""Bytes of the random nonce of each text: the length for which GCM is defined."""


class KeyLostError(Exception):
    """No key of the ring decrypts the text."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key {key_id}, which encrypted the text, is not among the keys of the service.")
        self.key_id = key_id


class NoKeyError(Exception):
    """The ring has no key, so nothing can be encrypted."""


class Sealed(NamedTuple):
    """An encrypted text."""

    key_id: str
    """Identifies the key that encrypted it."""
    text: str
    """The nonce and the encrypted text, in base64."""


class KeyRing:
    """Encrypts texts with its first key, and decrypts with each of its keys (AES-256-GCM).

    Each text belongs to a context, such as the row that stores it, and cannot be decrypted in another context. So a
    person who can write to the database cannot read a value by moving its text to another row.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.primary_id = next(iter(self._ciphers), None)
        """Identifies the key that encrypts; None if the ring has no key."""

    @property
    def ids(self) -> Collection[str]:
        """Returns the IDs of the keys, that of the encrypting key first."""
        return self._ciphers.keys()

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ciphers

    def seal(self, text: str, context: str) -> Sealed:
        """Returns `text` encrypted.

        Raises:
            NoKeyError: the ring has no key.
        """
        if self.primary_id is None:
            raise NoKeyError
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = self._ciphers[self.primary_id].encrypt(nonce, text.encode(), context.encode())
        return Sealed(self.primary_id, base64.b64encode(nonce + encrypted).decode())

    def open(self, sealed: Sealed, context: str) -> str:
        """Returns the text that was encrypted in `context`.

        Raises:
            KeyLostError: the ring does not have the key, or the text was damaged or moved.
        """
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise KeyLostError(sealed.key_id)
        try:
            content = base64.b64decode(sealed.text, validate=True)
            return cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], context.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError):
            raise KeyLostError(sealed.key_id) from None


NO_KEYS = KeyRing()
"""The ring of a service without keys."""


def key_id(key: bytes) -> str:
    """Returns the text that identifies `key`. It reveals nothing about the key."""
    return hashlib.sha256(b"flow-runs key " + key).hexdigest()[:KEY_ID_LENGTH]


def new_key() -> str:
    """Returns a new random key in the form that settings accept."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def parse_keys(text: str) -> list[bytes]:
    """Returns the keys in `text`, separated by commas.

    Raises:
        ValueError: an entry is not the base64 of 32 bytes. The message does not repeat it.
    """
    keys = []
    for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        try:
            key = base64.b64decode(entry.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"key {number} is not the base64 of {KEY_BYTES} bytes; make one with `secrets new-key`")
        keys.append(key)
    return keys
