"""Sends the bodies of deliveries: signed, within time limits, to public addresses, without following redirects."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import datetime

import httpcore
import httpx
from standardwebhooks import Webhook

from domain import reasons
from domain.json_codec import KIB
from domain.outbound.delivery import Attempt, AttemptError
from domain.time import clock
from engine.errors import StepError
from engine.steps import body
from engine.steps.http import CONNECT_SECONDS, USER_AGENT, retry_after
from engine.steps.network import GuardedBackend, GuardedTransport, anywhere, public_only
from engine.steps.proxies import with_proxies

TIMEOUT_SECONDS = 15.0
"""Seconds until the receiver must have answered. It stores the event and answers; its work comes later."""
EXCERPT_SECONDS = 2.0
"""Seconds for which the body of the response is read, of which the log has the beginning."""
EXCERPT_BYTES = KIB
"""Bytes of the response that the log keeps."""


class Sender:
    """Sends requests to endpoints. Belongs to one event loop."""

    def __init__(self, *, allow_private: bool, use_proxies: bool) -> None:
        """
        Args:
            allow_private: True if receivers may have addresses that are not on the public internet.
            use_proxies: True if requests use the proxies that the environment names.
        """
        transport: httpx.AsyncBaseTransport = GuardedTransport(
            GuardedBackend(anywhere if allow_private else public_only)
        )
        # Without a client of httpx: it would log the URLs of callbacks, and prepare for cookies and redirects.
        self._transport = with_proxies(transport) if use_proxies else transport

    async def send(self, url: str, content: bytes, headers: Mapping[str, str]) -> Attempt:
        """Posts a body to `url`; returns the result, and raises no error of the receiver or the network."""
        started_at = clock.now()
        try:
            request = _request(url, content, headers)
            response = await clock.timeout(TIMEOUT_SECONDS, self._transport.handle_async_request(request))
        except TimeoutError:
            return _failed(started_at, AttemptError.TIMEOUT, f"No answer within {TIMEOUT_SECONDS:g} s.")
        except httpcore.TimeoutException as error:
            return _failed(started_at, AttemptError.TIMEOUT, f"Connecting took too long. {error}".rstrip())
        except StepError as error:
            return _failed(started_at, AttemptError.ADDRESS_REFUSED, error.message)
        except (httpx.InvalidURL, httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return _failed(started_at, AttemptError.CONNECTION_FAILED, reasons.of_connection(error))
        duration_ms = clock.milliseconds_since(started_at)
        excerpt = await _excerpt(response)
        status = response.status_code
        if 200 <= status < 300:
            return Attempt(duration_ms, status, None, None, excerpt)
        if 300 <= status < 400:
            message = f"The receiver answered {status}, a redirect."
            return Attempt(duration_ms, status, AttemptError.REDIRECT, message, excerpt)
        message = f"The receiver answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
        return Attempt(duration_ms, status, AttemptError.STATUS, message, excerpt, retry_after(response))

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


def _request(url: str, content: bytes, headers: Mapping[str, str]) -> httpx.Request:
    """Returns the request of an attempt.

    Raises:
        httpx.InvalidURL: `url` is invalid.
    """
    target = httpx.URL(url)
    fixed = {"content-type": "application/json", "user-agent": USER_AGENT, "accept-encoding": body.ACCEPT_ENCODING}
    if target.userinfo:
        fixed["authorization"] = f"Basic {base64.b64encode(f'{target.username}:{target.password}'.encode()).decode()}"
    limits = {"timeout": {"connect": CONNECT_SECONDS, "pool": TIMEOUT_SECONDS}}
    return httpx.Request("POST", target, content=content, headers={**headers, **fixed}, extensions=limits)


def signed(message_id: str, at: datetime, content: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Returns the headers of Standard Webhooks: one signature for each secret, of which a receiver needs one."""
    text = content.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, text) for secret in secrets),
    }


def _failed(started_at: datetime, error: AttemptError, message: str) -> Attempt:
    return Attempt(clock.milliseconds_since(started_at), None, error, message, None)


async def _excerpt(response: httpx.Response) -> str | None:
    """Returns the beginning of the body, if it comes in time: the status has decided."""
    start = b""
    try:
        async with asyncio.timeout(EXCERPT_SECONDS):
            start = await body.read_start(response, EXCERPT_BYTES)
    except (TimeoutError, StepError, httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, OSError):
        pass
    finally:
        await response.aclose()
    return body.text_of(response, start).replace("\0", "\ufffd") or None
