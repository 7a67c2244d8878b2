"""Servers whose certificates are not valid: each report names the reason."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.errors import IdentityProviderUnavailableError
from engine.alerts.mail import MailServer
from engine.alerts.message import Message
from engine.alerts.messenger import Messenger
from engine.deliveries.sender import Sender
from service.sign_in.provider_http import ProviderHttp

MESSAGE = Message("Invoices: 4,000 runs failed", "All of them.\n")
REASON = "the certificate of the server is not valid: self-signed certificate"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """The port of a server with a certificate that nobody has signed."""
    command = "req -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    await asyncio.to_thread(
        subprocess.run, ["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_messages_and_deliveries_say_what_is_wrong_with_a_certificate(port: int) -> None:
    messenger = Messenger(MailServer("localhost", port, True), allow_private=True, use_proxies=False)
    sender = Sender(allow_private=True, use_proxies=False)
    mail, chat, attempt = await asyncio.gather(
        messenger.send("mailto:a@example.com", MESSAGE),
        messenger.send(f"jsons://localhost:{port}/a-token-of-a-chat", MESSAGE),
        sender.send(f"https://localhost:{port}/a-token", b"{}", {}),
    )
    assert mail == f"The mail server could not be reached: {REASON}."
    assert chat is not None
    assert f"({REASON})" in chat
    assert "a-token" not in chat
    assert attempt.message == REASON
    await sender.aclose()


async def test_log_says_what_is_wrong_with_the_certificate_of_the_provider(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    provider = ProviderHttp()
    with pytest.raises(IdentityProviderUnavailableError):
        await provider.get(f"https://localhost:{port}/.well-known/openid-configuration")
    (record,) = caplog.records
    assert record.__dict__["reason"] == REASON
    await provider.close()
