"""Requests to the identity provider, whose answers are limited in size and time."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from domain.errors import IdentityProviderInvalidError, IdentityProviderUnavailableError

_logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
"""Seconds until an answer must be complete: somebody waits for it before a white page."""
MAX_BYTES = 1024 * 1024
"""Bytes of an answer. Key sets and metadata have some ten thousand."""


class ProviderHttp:
    """An HTTP client for the identity provider. It follows no redirects: endpoints answer by themselves."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, headers={"accept": "application/json"})

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Returns the JSON object at `url`.

        Raises:
            IdentityProviderUnavailableError: there was no answer in time, or one with a status of 500 or more.
            IdentityProviderInvalidError: the answer is not a JSON object with the status 200.
        """
        status, body = await self._request("GET", url, headers or {}, None)
        if status != httpx.codes.OK:
            raise invalid_answer(f"status {status} from {url}")
        return body

    async def post_form(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Returns the status of the answer, 200 or an error of the client, and its JSON object.

        Raises:
            IdentityProviderUnavailableError: there was no answer in time, or one with a status of 500 or more.
            IdentityProviderInvalidError: the answer is not a JSON object, or a redirect.
        """
        status, body = await self._request("POST", url, headers, form)
        if status != httpx.codes.OK and not httpx.codes.is_client_error(status):
            raise invalid_answer(f"status {status} from {url}")
        return status, body

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream(method, url, headers=headers, data=form) as response,
            ):
                received = bytearray()
                async for chunk in response.aiter_bytes():
                    received += chunk
                    if len(received) > MAX_BYTES:
                        raise invalid_answer(f"more than {MAX_BYTES:,} bytes from {url}")
        except httpx.DecodingError:
            raise invalid_answer(f"an answer that cannot be decompressed from {url}") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            _logger.warning("identity provider unavailable", extra={"url": url, "reason": reason})
            raise IdentityProviderUnavailableError from None
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            _logger.warning("identity provider unavailable", extra={"url": url, "reason": response.status_code})
            raise IdentityProviderUnavailableError
        try:
            body = orjson.loads(received)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise invalid_answer(f"no JSON object from {url}, status {response.status_code}")
        return response.status_code, body


def invalid_answer(reason: str) -> IdentityProviderInvalidError:
    """Logs why an answer of the provider cannot be used, and returns the error of the request."""
    _logger.warning("identity provider gave an unusable answer", extra={"reason": reason})
    return IdentityProviderInvalidError()
