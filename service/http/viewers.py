"""Finds the viewer of a secret, and remembers it for a moment, so that requests need not ask the database."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from db import access_tokens, api_keys, secret_tokens
from db.api_keys import USE_PRECISION, ActiveKey
from db.core import pubsub
from db.core.database import Database
from domain import reasons
from domain.access_token import NO_TOKEN_KEYS, AccessToken, TokenKeys
from domain.enums import Role
from domain.errors import DatabaseUnavailableError, FlowRunsError
from domain.time import clock
from resolvers.context import Viewer
from schema.inputs.filters import scope_from_text

_logger = logging.getLogger(__name__)

TRUSTED = timedelta(seconds=0.5)
"""Time for which a key that was read counts as active. It is also the longest time for which a revoked key may still be
used, because the notification of another process can be lost, and a change by hand sends none."""
WARNED = timedelta(seconds=5)
"""Time between two log lines about requests that are not answered because keys cannot be read."""
WRITE_SECONDS = 60.0
"""Seconds between two writes of the uses of keys. Each write is one statement for each used key."""
MAX_KEYS = 10_000
"""Largest number of remembered keys, of about 500 bytes each. The key that was read first is dropped first."""


@dataclass(frozen=True, slots=True)
class _Known:
    viewer: Viewer
    read_at: datetime
    """The beginning of the read. The entry may lack changes that were committed later."""
    until: datetime
    """The time at which the entry must be read again, or at which the key expires, whichever comes first."""


def _viewer(key: ActiveKey) -> Viewer:
    return Viewer(
        key.id,
        key.project_id,
        Role(key.role),
        key.name,
        payloads=key.payloads,
        expires_at=key.expires_at,
        user_id=key.user_id,
        granted_project_ids=tuple(map(UUID, orjson.loads(key.granted_project_ids or "[]"))),
        cost_per_minute=key.cost_per_minute,
    )


def _viewer_of_token(key: ActiveKey, token: AccessToken) -> Viewer | None:
    """Returns the viewer of a valid token; None if this version of the service does not understand its filter."""
    try:
        scope = scope_from_text(token.filter_text)
    except (FlowRunsError, ValueError):
        return None
    ends = [end for end in (key.expires_at, token.expires_at) if end is not None]
    return Viewer(
        key.id,
        key.project_id,
        Role.VIEWER,
        key.name,
        payloads=key.payloads and token.payloads,
        token_id=token.id,
        scope=scope,
        expires_at=min(ends),
        cost_per_minute=key.cost_per_minute,
    )


class Viewers:
    """Finds the viewer of a secret. Only active keys are remembered, so guessing does not fill the memory.

    Belongs to one event loop.
    """

    def __init__(self, database: Database, token_keys: TokenKeys = NO_TOKEN_KEYS) -> None:
        self._database = database
        self._token_keys = token_keys
        self._known: dict[str, _Known] = {}
        self._reads: dict[str, asyncio.Task[Viewer | None]] = {}
        self._revoked = asyncio.Event()
        self._revocations = 0
        self._noted: dict[UUID, datetime] = {}
        """The time at which this process last recorded the use of each key."""
        self._unwritten: dict[UUID, datetime] = {}
        """Uses that `write_uses` has to write."""
        self._warned: datetime | None = None

    @contextmanager
    def forget_revoked(self) -> Iterator[None]:
        """Forgets keys as soon as this process is notified of a revocation, while the block lasts."""
        with self._database.pubsub.subscribe(pubsub.KEY_REVOKED) as self._revoked:
            yield

    async def record_uses(self) -> None:
        """Writes the uses of keys every `WRITE_SECONDS`, until cancelled."""
        while True:
            await clock.sleep(WRITE_SECONDS)
            await self.write_uses()

    async def write_uses(self) -> None:
        """Writes the keys that were used since the last call. Requests do not wait for this."""
        if not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, {}
        try:
            await self._database.write(api_keys.record_uses, unwritten)
        except DatabaseUnavailableError as error:
            self._unwritten = {**unwritten, **self._unwritten}
            _logger.warning("uses of keys not written", extra={"reason": reasons.of_database(error)})

    async def find(self, secret: str | None) -> Viewer | None:
        """Returns the viewer of the active key with this secret; None if there is none.

        Raises:
            DatabaseUnavailableError: the key must be read, and the database cannot be reached.
        """
        if not secret:
            return None
        if self._revoked.is_set():
            self._forget()
        digest = secret_tokens.hash_token(secret)
        known = self._known.get(digest)
        # A clock that was set back must not prolong the life of a key.
        if known is not None and known.read_at <= clock.now() < known.until:
            return known.viewer
        reading = self._reads.get(digest)
        if reading is None:
            token = None if secret.startswith(api_keys.PREFIX) else self._token_keys.verified(secret)
            reading = self._reads[digest] = asyncio.create_task(self._read(digest, token))
            reading.add_done_callback(lambda done: self._forget_read(digest, done))
        # Others may wait for the same read.
        return await asyncio.shield(reading)

    async def _read(self, digest: str, token: AccessToken | None) -> Viewer | None:
        try:
            return await self._read_active(digest, token)
        except DatabaseUnavailableError as error:
            now = clock.now()
            if self._warned is None or not timedelta(0) <= now - self._warned < WARNED:
                self._warned = now
                _logger.warning("requests not answered", extra={"reason": reasons.of_database(error)})
            raise

    async def _read_active(self, digest: str, token: AccessToken | None) -> Viewer | None:
        revocations, read_at = self._revocations, clock.now()
        if token is None:
            key = await self._database.read(api_keys.by_hash, digest)
        else:
            key = await self._database.read(access_tokens.active_key, token.id, token.key_id)
        self._known.pop(digest, None)
        if key is None or (token is not None and token.expires_at <= read_at):
            return None
        viewer = _viewer(key) if token is None else _viewer_of_token(key, token)
        if viewer is None:
            return None
        self._note_use(key, read_at)
        if revocations == self._revocations and not self._revoked.is_set():
            until = read_at + TRUSTED
            until = until if viewer.expires_at is None else min(until, viewer.expires_at)
            if len(self._known) >= MAX_KEYS:
                del self._known[next(iter(self._known))]
            self._known[digest] = _Known(viewer, read_at, until)
        return viewer

    def _note_use(self, key: ActiveKey, now: datetime) -> None:
        """Records the use of the key, unless a recent use was recorded. `write_uses` writes it."""
        last = max((at for at in (key.last_used_at, self._noted.get(key.id)) if at is not None), default=None)
        # A clock that was set back must not stop the recording.
        if last is not None and last <= now < last + USE_PRECISION:
            return
        if len(self._noted) >= MAX_KEYS:
            self._noted.clear()
        self._noted[key.id] = self._unwritten[key.id] = now

    def _forget(self) -> None:
        self._revoked.clear()
        self._revocations += 1
        self._known.clear()
        self._reads.clear()  # Pending reads may return what was committed before the revocation.

    def _forget_read(self, digest: str, done: "asyncio.Task[Viewer | None]") -> None:
        if self._reads.get(digest) is done:
            del self._reads[digest]
        if not done.cancelled():
            done.exception()  # This marks the error as retrieved: the tasks that waited may have been cancelled.
