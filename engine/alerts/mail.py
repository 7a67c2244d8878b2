"""Sends e-mails over the SMTP server of the operator."""

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import localtime, make_msgid, parseaddr
from urllib.parse import unquote, urlsplit

from domain import reasons
from engine.alerts.message import Message

TIMEOUT_SECONDS = 20.0
"""Seconds until each answer of the server must be there."""
MAX_RECIPIENTS = 20
"""Recipients of one alert."""
DEFAULT_SENDER = "flow-runs@localhost"
_PORTS = {"smtp": 587, "smtps": 465}
"""Default ports, by scheme: submission, and submission over TLS."""


class MailError(Exception):
    """The server did not accept a message."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server."""

    host: str
    port: int
    is_tls: bool
    """True: the connection begins with TLS. Otherwise STARTTLS is used if the server offers it."""
    username: str | None = None
    password: str = ""
    sender: str = DEFAULT_SENDER
    """The address in `From`."""

    @staticmethod
    def of(url: str, sender: str) -> "MailServer":
        """Returns the server of a URL `smtp://user:password@host:port`, or `smtps://` for TLS from the beginning.

        Raises:
            ValueError: the URL or the address of the sender is invalid.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("the SMTP server is no URL such as smtp://user:password@mail.example.com:587")
        username = unquote(parts.username) if parts.username else None
        if not is_address(sender):
            raise ValueError("the sender of e-mails is no e-mail address")
        port = parts.port or _PORTS[parts.scheme]
        password = unquote(parts.password or "")
        return MailServer(parts.hostname, port, parts.scheme == "smtps", username, password, sender)


def is_address(text: str) -> bool:
    """True if a text is one e-mail address without a display name."""
    try:
        address = Address(addr_spec=text)
    except (MessageError, ValueError, IndexError):
        return False
    has_parts = bool(address.username and address.domain)
    return has_parts and parseaddr(text)[1] == text and text.isascii() and not set(text) & set(' ,;<>\r\n"')


def recipients_of(target: str) -> list[str]:
    """Returns the recipients of a target `mailto:a@example.com,b@example.com`.

    Raises:
        ValueError: there are none, too many, or one is invalid. The message says what is expected.
    """
    found = [part.strip() for part in target.removeprefix("mailto:").split(",")]
    if len(found) > MAX_RECIPIENTS or not all(map(is_address, found)):
        raise ValueError(
            f"1 to {MAX_RECIPIENTS} e-mail addresses are needed, such as mailto:a@example.com,b@example.com"
        )
    return found


def send(server: MailServer, recipients: list[str], message: Message) -> None:
    """Sends a message. Blocks the thread.

    Raises:
        MailError: the server could not be reached, or did not accept the message.
    """
    mail = EmailMessage()
    mail["Subject"] = message.title
    mail["From"] = server.sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = localtime()
    mail["Message-ID"] = make_msgid(domain=server.sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.body)
    context = ssl.create_default_context()
    try:
        smtp = _connection(server, context)
        try:
            _submit(smtp, server, context, mail)
        finally:
            # The message has been accepted, or not: how the server takes the leave changes nothing.
            with suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            smtp.close()
    except (smtplib.SMTPException, OSError) as error:
        raise MailError(_reason(error)) from error


def _submit(smtp: smtplib.SMTP, server: MailServer, context: ssl.SSLContext, mail: EmailMessage) -> None:
    smtp.ehlo()
    if not server.is_tls and smtp.has_extn("starttls"):
        smtp.starttls(context=context)
        smtp.ehlo()
    elif not server.is_tls and server.username is not None:
        raise MailError("The server offers no STARTTLS, and a password is not sent without encryption.")
    if server.username is not None:
        smtp.login(server.username, server.password)
    smtp.send_message(mail)


def _connection(server: MailServer, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.is_tls:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_SECONDS, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)


def _reason(error: Exception) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            codes = sorted({code for code, _ in error.recipients.values()})
            return f"The mail server refused all recipients ({', '.join(map(str, codes))})."
        case smtplib.SMTPResponseException():
            return f"The mail server answered {error.smtp_code}."
        case _:
            return f"The mail server could not be reached: {reasons.of_connection(error)}."
