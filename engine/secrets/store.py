"""The secrets of projects in the forms that workers need: decrypted values and masks."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from weakref import WeakValueDictionary

from db import secrets
from db.core import pubsub
from db.core.database import Database
from db.secrets import SealedValue, Stamp
from domain.time import clock
from engine.errors import StepError
from engine.secrets.key_ring import KeyLostError, KeyRing, Sealed
from engine.secrets.masks import Masker

_logger = logging.getLogger(__name__)

TRUSTED = timedelta(seconds=1)
"""Time for which masks count as current without a check in the database. A process hears of most changes earlier."""
MANY = 10
"""Number of values above which masks are made in a thread, so that the event loop is not blocked."""
MAX_PROJECTS = 1_000
"""Largest number of projects whose masks are kept in memory; the least recently used ones are dropped."""


@dataclass(slots=True)
class _Known:
    stamp: Stamp
    masker: Masker
    checked_at: datetime


class SecretStore:
    """Decrypts secrets. Belongs to one event loop."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self.keys = keys
        self._database = database
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._changed = asyncio.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Applies changes immediately while the block lasts, instead of within `TRUSTED`."""
        with self._database.pubsub.subscribe(pubsub.SECRETS_CHANGED) as self._changed:
            yield

    async def masker(self, project_id: UUID) -> Masker:
        """Returns the masker of the project's secrets, including their earlier values.

        Raises:
            DatabaseUnavailableError: the masks must be read, and the database cannot be reached.
        """
        if (current := self._current(project_id)) is not None:
            return current
        # One of the runs that are executed at the same time reads for all.
        async with self._locks.setdefault(project_id, asyncio.Lock()):
            return self._current(project_id) or await self._checked(project_id)

    def _current(self, project_id: UUID) -> Masker | None:
        """Returns the masker of the project unless the database must be asked."""
        if self._changed.is_set():
            self._changed.clear()
            self._known.clear()
        known = self._known.get(project_id)
        if known is None or not known.checked_at <= clock.now() < known.checked_at + TRUSTED:
            return None
        return known.masker

    async def _checked(self, project_id: UUID) -> Masker:
        now = clock.now()
        known = self._known.get(project_id)
        stamp = await self._database.read(secrets.stamp, project_id)
        if known is None or known.stamp != stamp:
            known = _Known(stamp, await self._read_masks(project_id), now)
        known.checked_at = now
        self._known[project_id] = known
        self._known.move_to_end(project_id)
        while len(self._known) > MAX_PROJECTS:
            self._known.popitem(last=False)
        return known.masker

    async def values(self, project_id: UUID, environment: str, names: Collection[str]) -> dict[str, str]:
        """Returns the current values of secrets for runs of an environment, by name.

        Raises:
            StepError: SECRET_NOT_FOUND, SECRET_UNREADABLE.
            DatabaseUnavailableError: the database cannot be reached.
        """
        found = await self._database.read(secrets.values, project_id, environment, sorted(names))
        if missing := sorted(set(names) - set(found)):
            message = f"The project has no secret {missing[0]!r} for {environment}. Create it with `createSecret`."
            raise StepError("SECRET_NOT_FOUND", message, retryable=False)
        try:
            return {name: self.keys.open(*sealed_of(value)) for name, value in found.items()}
        except KeyLostError as error:
            unreadable = ", ".join(sorted(name for name, value in found.items() if value.key_id == error.key_id))
            message = (
                f"The secret {unreadable} cannot be decrypted: the key {error.key_id} is missing in"
                " FLOWRUNS_SECRET_KEYS of this worker. Add the key, or set a new value with `rotateSecret`."
            )
            # Another worker may have the key during a change of keys.
            raise StepError("SECRET_UNREADABLE", message) from None

    async def _read_masks(self, project_id: UUID) -> Masker:
        values = await self._database.read(secrets.all_values, project_id)
        opened: list[str] = []
        lost: set[str] = set()
        for value in values:
            try:
                opened.append(self.keys.open(*sealed_of(value)))
            except KeyLostError as error:
                lost.add(error.key_id)
        for key_id in sorted(lost):
            _logger.error("key of secrets is missing: their values are not masked", extra={"key": key_id})
        # Each value has about ten forms, which take 0.6 ms to make.
        return await asyncio.to_thread(Masker, opened) if len(opened) > MANY else Masker(opened)


def sealed_of(value: SealedValue) -> tuple[Sealed, str]:
    """Returns the encrypted text of a value and its context, for `KeyRing.open`."""
    context = context_of(value.secret_id, value.project_id, value.environment, value.name)
    return Sealed(value.key_id, value.sealed), context


def context_of(secret_id: UUID, project_id: UUID, environment: str | None, name: str) -> str:
    """Returns the context in which the value of a secret is encrypted: parts that never change."""
    return f"secret {secret_id} {project_id} {environment or '*'} {name}"
