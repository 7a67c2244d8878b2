"""A service with alerts, a mail server, and a relay and a notifier that work when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from engine.alerts.mail import MailServer
from engine.alerts.messenger import Messenger
from engine.alerts.notifier import Notifier
from engine.deliveries.relay import Relay
from engine.secrets.key_ring import KeyRing, new_key, parse_keys
from engine.secrets.store import SecretStore
from tests.engine.deliveries.conftest import new_relay
from tests.support import factory
from tests.support.app import App, run_app
from tests.support.clock import FakeClock
from tests.support.factory import PublishedFlow
from tests.support.run_family import make_flow

CREATE = """mutation($input: CreateAlertInput!) { it: createAlert(input: $input) {
    ... on CreateAlertSuccess { alert { id threshold targetScheme quietSeconds } }
    ... on AlertInvalid { problems { path message } } ... on UserError { code message } } }"""
NOTIFICATIONS = """query($id: ID!) { node(id: $id) { ... on Alert { notifications { nodes {
    id status isTest count attemptCount message run { id } flow { name } endpoint { id } } } } } }"""


@dataclass
class Mailbox:
    """What a mail server has accepted."""

    mails: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Takes a mail, and returns the answer."""
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return self.answer

    def text(self, index: int = -1) -> str:
        """Returns the subject and the text of a mail."""
        mail = self.mails[index]
        return f"{mail['subject']}\n{mail.get_content()}"


@dataclass
class Alerting:
    """The service, the mailbox, and what sends from one to the other."""

    app: App
    mailbox: Mailbox
    relay: Relay
    notifier: Notifier
    flow: PublishedFlow
    clock: FakeClock
    smtp_url: str
    secret_key: str

    async def alert(self, target: str = "mailto:ops@example.com", **more: Any) -> str:
        """Creates an alert; returns its ID."""
        made = await self.app.query(CREATE, {"input": {"name": "an alert", "target": target, **more}})
        alert_id: str = made["it"]["alert"]["id"]
        return alert_id

    async def runs(self, statuses: Sequence[RunStatus], count: int = 1, **values: Any) -> list[UUID]:
        """Makes runs that have had these statuses, with their events."""

        def work(uow: Any) -> list[UUID]:
            rows = [{"status": statuses[-1], **values} for _ in range(count)]
            made = factory.make_runs(uow, self.flow, rows)
            factory.make_events_of_runs(uow, self.flow, made, statuses)
            return made

        return await self.app.database.write(work)

    async def send(self, after: float = 0) -> None:
        """Counts all events, and sends what is due `after` so many seconds."""
        await self.relay.drain()
        self.clock.block(after)
        while await self.notifier.work() <= 0:
            pass

    async def notifications(self, alert: str) -> list[dict[str, Any]]:
        """Returns the notifications of an alert, the oldest first."""
        nodes: list[dict[str, Any]] = (await self.app.query(NOTIFICATIONS, {"id": alert}))["node"]["notifications"][
            "nodes"
        ]
        return nodes[::-1]


@pytest.fixture
async def alerting(database_url: str, fake_clock: FakeClock) -> AsyncIterator[Alerting]:
    key = new_key()
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with run_app(database_url, with_worker=False, secret_keys=key) as app:
        messenger = Messenger(MailServer("127.0.0.1", port, is_tls=False), allow_private=True, use_proxies=False)
        notifier = Notifier(app.database, messenger, SecretStore(app.database, KeyRing(parse_keys(key))))
        flow = await make_flow(app, "Invoices")
        smtp_url = f"smtp://127.0.0.1:{port}"
        yield Alerting(app, mailbox, new_relay(app), notifier, flow, fake_clock, smtp_url, key)
        await notifier.shut_down()
    server.close()


def run_id(key: UUID) -> str:
    """Returns the ID of a run, as clients see it."""
    return ids.encode(IdKind.RUN, key)
