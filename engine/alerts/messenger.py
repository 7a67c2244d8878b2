"""Sends messages to the targets of alerts: e-mail over the SMTP server of the operator, everything else by Apprise."""

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from engine.alerts import mail
from engine.alerts.mail import MailError, MailServer
from engine.alerts.message import Message

CHAT_SECONDS = 60.0
"""Seconds after which the process that sends a message is ended."""
MAX_THREADS = 2
"""E-mails that one worker sends at the same time."""
MAX_PROCESSES = 2
"""Processes that send messages at the same time: each has the size of an interpreter with Apprise."""
_ROOT = Path(__file__).resolve().parents[2]
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_KEPT = frozenset({"PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "SYSTEMROOT"})
"""Variables of the environment that the process gets: none that has secrets of the service."""
MAX_PROBLEM = 500
"""Characters of the reason why a message was not sent."""


class Messenger:
    """Sends messages to targets. Belongs to one event loop."""

    def __init__(self, server: MailServer | None, *, allow_private: bool, use_proxies: bool) -> None:
        """
        Args:
            server: Sends e-mails; None: there is none.
            allow_private: True if services may have addresses that are not on the public internet.
            use_proxies: True if requests use the proxies that the environment names.
        """
        self._server = server
        self._is_guarded = not (allow_private or use_proxies)
        self._use_proxies = use_proxies
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="mail")
        self._processes = asyncio.Semaphore(MAX_PROCESSES)

    async def send(self, target: str, message: Message) -> str | None:
        """Sends a message; returns why it was not sent, None if it was."""
        problem = await (self._mail(target, message) if target.startswith("mailto:") else self._chat(target, message))
        return None if problem is None else problem[:MAX_PROBLEM]

    async def _mail(self, target: str, message: Message) -> str | None:
        if self._server is None:
            return "The worker has no mail server: set FLOWRUNS_SMTP_URL."
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, mail.send, self._server, mail.recipients_of(target), message)
        except (MailError, ValueError) as error:
            return str(error)
        return None

    async def _chat(self, target: str, message: Message) -> str | None:
        request = {"url": target, "title": message.title, "body": message.body, "is_guarded": self._is_guarded}
        async with self._processes:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "engine.alerts.chat_process"),
                cwd=_ROOT,
                env=self._environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(CHAT_SECONDS):
                    output, _ = await process.communicate(orjson.dumps(request))
            except TimeoutError:
                return f"The service did not answer within {CHAT_SECONDS:g} s."
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            problem: str | None = orjson.loads(output.splitlines()[-1])["problem"]
        except (IndexError, KeyError, TypeError, ValueError):
            return f"Apprise ended unexpectedly, with the code {process.returncode}."
        return problem

    def _environment(self) -> dict[str, str]:
        proxies = _PROXIES if self._use_proxies else ()
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.lower() in proxies}
        if "SSL_CERT_FILE" in kept and not kept.get("REQUESTS_CA_BUNDLE"):
            kept["REQUESTS_CA_BUNDLE"] = kept["SSL_CERT_FILE"]  # the name that the library of Apprise knows
        return kept

    def close(self) -> None:
        """Waits for no message that is being sent."""
        self._threads.shutdown(wait=False, cancel_futures=True)
