"""Messages to services over Apprise, in a process of its own, and to mail servers that do not behave."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from engine.alerts import mail
from engine.alerts.mail import MailServer
from engine.alerts.message import Message
from engine.alerts.messenger import Messenger
from tests.support.receiver import receiving

MESSAGE = Message("Invoices: 4,000 runs failed", "All of them.\n")


async def test_services_get_messages_over_http_and_private_ones_none() -> None:
    open_, guarded = (Messenger(None, allow_private=allow, use_proxies=False) for allow in (True, False))
    async with receiving() as receiver:
        target = receiver.url.replace("http://", "json://") + "/ok/chat"
        sent, refused = await asyncio.gather(open_.send(target, MESSAGE), guarded.send(target, MESSAGE))
        assert sent is None
        (got,) = receiver.requests
        assert (got.path, got.json["title"], got.json["message"]) == ("/ok/chat", MESSAGE.title, "All of them.")
    assert refused is not None
    assert await open_.send("mailto:a@example.com", MESSAGE) == "The worker has no mail server: set FLOWRUNS_SMTP_URL."


async def test_target_cannot_name_a_file_of_the_machine(tmp_path: Path) -> None:
    """Neither its content is sent, nor does the answer say whether it exists."""
    there, missing = tmp_path / "there.json", tmp_path / "missing.json"
    there.write_text('{"content": "a secret of the machine"}')
    messenger = Messenger(None, allow_private=False, use_proxies=False)
    webhook = f"discord://1234567890/{'a1' * 34}"
    problems = [await messenger.send(f"{webhook}?template={path}", MESSAGE) for path in (there, missing)]
    messenger.close()
    assert problems == [f"Could not access Discord template file://{path}." for path in (there, missing)]


async def test_passwords_of_the_machine_are_not_sent(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login operator password secret\n")
    async with receiving() as receiver:
        target = receiver.url.replace("http://", "json://") + "/ok/chat"
        request = {"url": target, "title": MESSAGE.title, "body": MESSAGE.body, "is_guarded": False}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.alerts.chat_process"),
            env={"HOME": str(tmp_path)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(json.dumps(request).encode())
        assert json.loads(output) == {"problem": None}
        (got,) = receiver.requests
        assert "authorization" not in {name.lower() for name in got.headers}


def test_mail_servers_are_read_from_urls() -> None:
    server = MailServer.of("smtp://me:p%40ss@mail.example.com", "runs@example.com")
    assert server == MailServer("mail.example.com", 587, False, "me", "p@ss", "runs@example.com")
    assert MailServer.of("smtps://mail.example.com:4650", "a@b").port == 4650
    for url, sender in (("http://mail.example.com", "a@b"), ("smtp://", "a@b"), ("smtp://host", "a@b\r\nbcc: c@d")):
        with pytest.raises(ValueError, match=r"SMTP server|sender"):
            MailServer.of(url, sender)


async def test_password_is_not_sent_without_encryption_and_a_silent_server_is_a_problem() -> None:
    received: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            received.append(line)
            writer.write(b"250 OK\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    messenger = Messenger(MailServer("127.0.0.1", port, False, "me", "secret"), allow_private=True, use_proxies=False)
    problem = await messenger.send("mailto:a@example.com", MESSAGE)
    assert problem == "The server offers no STARTTLS, and a password is not sent without encryption."
    assert not any(b"AUTH" in line for line in received)
    server.close()
    await server.wait_closed()
    assert "could not be reached" in str(await messenger.send("mailto:a@example.com", MESSAGE))
    assert mail.recipients_of("mailto:a@example.com, b@example.com") == ["a@example.com", "b@example.com"]
