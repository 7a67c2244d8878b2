"""Sends the deliveries that are due, to many endpoints at once, and to each with bounded concurrency.

A claimed delivery has a lease: if the worker is lost, another one sends it after the lease has run out. So a delivery
is sent at least once, and a second time if a worker is killed between the response and its record.
"""

import asyncio
import logging
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from db.core import pubsub
from db.core.database import Database
from db.deliveries import endpoints, queue, sources
from db.deliveries.queue import EndedAttempt
from db.deliveries.sources import Sources
from db.outbound_row_types import DeliveryRow, EndpointRow
from domain import ids
from domain.errors import DatabaseUnavailableError
from domain.ids import IdKind
from domain.observation.observer import SILENT, Observer
from domain.outbound.delivery import MAX_AGE, Attempt, AttemptError, DisabledReason
from domain.time import clock
from engine.deliveries import bodies, sealing
from engine.deliveries.sender import Sender, signed
from engine.secrets import endpoint_urls
from engine.secrets.key_ring import KeyLostError, KeyRing, Sealed
from engine.secrets.masks import MIN_LENGTH, Masker
from engine.secrets.store import SecretStore
from engine.secrets.url_masks import url_masker
from engine.worker.background_service import BackgroundService

_logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 200
"""Deliveries that one worker sends at once."""
MAX_PER_ENDPOINT = 10
"""Deliveries that all workers together send to one endpoint at once; of callbacks, to one server."""
PROBE_EVERY = timedelta(seconds=10)
"""Time between two attempts of a worker at an endpoint that is failing. All that is pending is sent once it takes
one."""
LEASE = timedelta(seconds=60)
"""Longer than an attempt can take, its record included."""
INTERVAL_SECONDS = 5.0
"""Seconds between two looks for due deliveries without a notification."""
FULL_SECONDS = 0.25
"""Seconds until the next look while everything that is due belongs to lanes that are full in other workers."""
CLAIM_SECONDS = 0.01
"""Seconds between two claims at least: attempts that end together free their places together."""
GRACE_SECONDS = 10.0
"""Seconds for which attempts under way may go on when the worker stops."""
_GONE = 410
_DELIVERED = "delivered"


class Deliverer(BackgroundService):
    """Sends the deliveries of one database. Any number of processes can run one."""

    def __init__(self, database: Database, sender: Sender, secrets: SecretStore, observer: Observer = SILENT) -> None:
        """
        Args:
            database: The database with the deliveries.
            sender: Sends the bodies.
            secrets: Has the keys that decrypt, and masks what receivers answer.
            observer: Receives a report of each attempt.
        """
        super().__init__("deliverer", INTERVAL_SECONDS, database.pubsub, pubsub.DELIVERIES_DUE)
        self._database = database
        self._sender = sender
        self._secrets = secrets
        self._observer = observer
        self._under_way: dict[asyncio.Task[None], DeliveryRow] = {}
        """The attempts under way."""
        self._lanes: Counter[UUID] = Counter()
        """The number of attempts under way in each lane."""
        self._probed: dict[UUID, datetime] = {}
        """The lanes of failing endpoints, with the time of the last attempt."""

    @property
    def _keys(self) -> KeyRing:
        return self._secrets.keys

    async def work(self) -> float:
        """Starts attempts of what is due; returns the seconds until the next look."""
        free = MAX_IN_FLIGHT - len(self._under_way)
        next_due = await self._database.read(queue.next_due) if free > 0 else None
        if next_due is None:
            return self.interval
        now = clock.now()
        if next_due > now:
            return (next_due - now).total_seconds()
        token = uuid4()
        self._probed = {lane: at for lane, at in self._probed.items() if timedelta(0) <= now - at < PROBE_EVERY}
        claimed = await self._database.write(queue.claim, token, now, LEASE, free, MAX_PER_ENDPOINT, [*self._probed])
        if not claimed:
            return FULL_SECONDS
        try:
            found = await self._database.read(sources.load, claimed)
        except BaseException:
            await self._database.write(queue.release, token, now)
            raise
        for delivery in claimed:
            endpoint = found.endpoints.get(delivery.endpoint_id)
            if endpoint is not None and queue.is_failing(endpoint, now):
                self._probed[delivery.lane] = now
            task = asyncio.create_task(self._attempt(delivery, found))
            self._under_way[task] = delivery
            self._lanes[delivery.lane] += 1
            task.add_done_callback(self._done)
        await clock.sleep(CLAIM_SECONDS)
        return 0

    async def shut_down(self) -> None:
        """Lets attempts under way end within `GRACE_SECONDS`; other workers send the rest again."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=GRACE_SECONDS)
        left = dict(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for token in {delivery.lease_token for delivery in left.values()}:
            await self._database.write(queue.release, token, clock.now())
        await self._sender.aclose()

    async def drain(self) -> None:
        """Sends everything that is due, and waits for the ends of the attempts."""
        while await self.work() == 0 or self._under_way:
            if self._under_way:
                await asyncio.wait(list(self._under_way), return_when=asyncio.FIRST_COMPLETED)

    def _done(self, task: asyncio.Task[None]) -> None:
        lane = self._under_way.pop(task).lane
        self._lanes[lane] -= 1
        if self._lanes[lane] <= MAX_PER_ENDPOINT // 2:
            self.wake()
        if not self._lanes[lane]:
            del self._lanes[lane]
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("delivery failed", exc_info=error)

    async def _attempt(self, delivery: DeliveryRow, found: Sources) -> None:
        endpoint = found.endpoints.get(delivery.endpoint_id)
        if endpoint is None or not found.has_all_of(delivery):
            await self._database.write(queue.cancel, delivery, clock.now())
            return
        started_at = clock.now()
        attempt = _masked(await self._send(delivery, endpoint, found), await self._secrets.masker(delivery.project_id))
        self._observer.delivery_attempted((attempt.error or _DELIVERED).lower(), attempt.duration_ms / 1_000)
        is_gone = attempt.status == _GONE
        ended = EndedAttempt(delivery, started_at, clock.now(), attempt, is_final=is_gone and endpoint.url is None)
        try:
            if not await self._database.write_batched(queue.end_attempts, delivery.id, ended):
                await self._database.write(queue.end_attempts, [ended])
            await self._judge(endpoint, attempt, is_gone=is_gone)
        except DatabaseUnavailableError:
            _logger.warning("attempt of a delivery not recorded: it will be repeated", extra=_fields(delivery))

    async def _send(self, delivery: DeliveryRow, endpoint: EndpointRow, found: Sources) -> Attempt:
        now = clock.now()
        try:
            url = self._url(delivery, endpoint, found)
            secrets = sealing.secrets_of(endpoint, self._keys, now)
        except KeyLostError as error:
            message = f"{error} Add it to FLOWRUNS_SECRET_KEYS of the worker."
            return Attempt(0, None, AttemptError.KEY_MISSING, message, None)
        content = bodies.render(delivery, endpoint, found)
        headers = signed(ids.encode(IdKind.DELIVERY, delivery.id), now, content, secrets)
        attempt = await self._sender.send(url, content, headers)
        repeats = any(len(text) >= MIN_LENGTH for text in (attempt.excerpt, attempt.message) if text is not None)
        return _masked(attempt, url_masker(url)) if repeats else attempt

    def _url(self, delivery: DeliveryRow, endpoint: EndpointRow, found: Sources) -> str:
        if (url := endpoint_urls.url_of(self._keys, endpoint)) is not None:
            return url
        assert delivery.callback_run_id is not None  # of a callback
        sealed = found.callbacks[delivery.callback_run_id]
        return self._keys.open(Sealed(*sealed), sealing.callback_context(delivery.callback_run_id))

    async def _judge(self, endpoint: EndpointRow, attempt: Attempt, *, is_gone: bool) -> None:
        """Disables an endpoint that answered 410, or that has failed for `MAX_AGE`."""
        if attempt.is_delivered or endpoint.url is None:
            return
        now = clock.now()
        if is_gone:
            await self._switch_off(endpoint, DisabledReason.GONE)
        elif endpoint.failing_since is not None and endpoint.failing_since <= now - MAX_AGE:
            await self._switch_off(endpoint, DisabledReason.FAILING)

    async def _switch_off(self, endpoint: EndpointRow, reason: DisabledReason) -> None:
        if await self._database.write(endpoints.switch_off, endpoint.id, reason, clock.now()):
            fields = {"endpoint_id": ids.encode(IdKind.ENDPOINT, endpoint.id), "reason": reason}
            _logger.warning("endpoint disabled", extra=fields)


def _masked(attempt: Attempt, masker: Masker) -> Attempt:
    """Returns an attempt without the values that `masker` knows, which the receiver may have repeated."""
    excerpt, message = (None if text is None else masker.cut_text(text) for text in (attempt.excerpt, attempt.message))
    return attempt._replace(excerpt=excerpt, message=message)


def _fields(delivery: DeliveryRow) -> dict[str, object]:
    return {"delivery_id": ids.encode(IdKind.DELIVERY, delivery.id)}
