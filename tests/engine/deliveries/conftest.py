"""A service with endpoints, and a relay and a deliverer that work when a test says so."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from engine.deliveries.deliverer import Deliverer
from engine.deliveries.relay import Relay
from engine.deliveries.sender import Sender
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from engine.secrets.store import SecretStore
from live.event_predicate import EventPredicate
from schema.inputs.filters import events_filter_from_text
from tests.support import factory
from tests.support.app import App, run_app
from tests.support.factory import PublishedFlow
from tests.support.receiver import Receiver, receiving
from tests.support.run_family import make_flow

CREATE = """mutation($input: CreateEndpointInput!) { it: createEndpoint(input: $input) {
    ... on CreateEndpointSuccess { secret endpoint { id } } ... on UserError { code message } } }"""
DELIVERIES = """query($filter: DeliveryFilter) { deliveries(filter: $filter) { nodes {
    id kind status attemptCount responseStatus nextAttemptAt runId isCallback run { id } endpoint { id }
    attempts { number durationMs responseStatus error message excerpt } } } }"""
FAILED = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.FAILED)


def new_relay(app: App) -> Relay:
    """Returns a relay as a worker has it."""
    return Relay(app.database, lambda text: EventPredicate(events_filter_from_text(text)))


@dataclass
class Sending:
    """The service, the receiver, and what sends from one to the other."""

    app: App
    receiver: Receiver
    keys: KeyRing
    relay: Relay
    deliverer: Deliverer
    flow: PublishedFlow
    database_url: str
    secret_key: str

    async def endpoint(self, path: str | None = "/ok", **more: Any) -> tuple[str, str]:
        """Creates an endpoint at a path of the receiver; returns its ID and its secret."""
        url = None if path is None else self.receiver.url + path
        made = (await self.app.query(CREATE, {"input": {"name": "an endpoint", "url": url, **more}}))["it"]
        return made["endpoint"]["id"], made["secret"]

    async def run(self, statuses: Sequence[RunStatus] = FAILED, **values: Any) -> str:
        """Makes a run that has had these statuses, with their events; returns its ID."""

        def work(uow: Any) -> UUID:
            run_id = factory.make_run(uow, self.flow, status=statuses[-1], **values)
            factory.make_events(uow, self.flow, run_id, statuses)
            return run_id

        return ids.encode(IdKind.RUN, await self.app.database.write(work))

    async def send(self) -> None:
        """Turns all events into deliveries, and makes all attempts that are due."""
        await self.relay.drain()
        await self.deliverer.drain()

    async def log(self, **where: Any) -> list[dict[str, Any]]:
        """Returns the log of deliveries, the oldest first."""
        found = await self.app.query(DELIVERIES, {"filter": where})
        nodes: list[dict[str, Any]] = found["deliveries"]["nodes"]
        return nodes[::-1]

    def new_deliverer(self, *, allow_private: bool = True) -> Deliverer:
        """Returns a deliverer as a worker has it."""
        sender = Sender(allow_private=allow_private, use_proxies=False)
        return Deliverer(self.app.database, sender, SecretStore(self.app.database, self.keys))


@pytest.fixture
async def sending(database_url: str) -> AsyncIterator[Sending]:
    key = new_key()
    async with run_app(database_url, with_worker=False, secret_keys=key) as app, receiving() as receiver:
        keys = KeyRing(parse_keys(key))
        made = Sending(app, receiver, keys, new_relay(app), None, await make_flow(app), database_url, key)  # type: ignore[arg-type]
        made.deliverer = made.new_deliverer()
        yield made
        await made.deliverer.shut_down()
