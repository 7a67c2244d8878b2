"""Requests to the identity provider, whose responses are limited in size and time."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from domain import reasons
from domain.errors import IdentityProviderInvalidError, IdentityProviderUnavailableError

_logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
"""Seconds until a response must be complete: a person waits for it in front of an empty page."""
MAX_BYTES = 1024 * 1024
"""Largest size of a response in bytes. Key sets and metadata have some ten thousand bytes."""


class ProviderHttp:
    """An HTTP client for the identity provider. It follows no redirects: endpoints respond themselves."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, headers={"accept": "application/json"})

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Returns the JSON object at `url`.

        Raises:
            IdentityProviderUnavailableError: no response came in time, or one with a status of 500 or more.
            IdentityProviderInvalidError: the response is not a JSON object with the status 200.
        """
        status, body = await self._request("GET", url, headers or {}, None)
        if status != httpx.codes.OK:
            raise invalid_response(f"status {status} from {url}")
        return body

    async def post_form(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Returns the status of the response, 200 or a client error, and its JSON object.

        Raises:
            IdentityProviderUnavailableError: no response came in time, or one with a status of 500 or more.
            IdentityProviderInvalidError: the response is not a JSON object, or is a redirect.
        """
        status, body = await self._request("POST", url, headers, form)
        if status != httpx.codes.OK and not httpx.codes.is_client_error(status):
            raise invalid_response(f"status {status} from {url}")
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
                        raise invalid_response(f"more than {MAX_BYTES:,} bytes from {url}")
        except httpx.DecodingError:
            raise invalid_response(f"a response that cannot be decompressed from {url}") from None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            _logger.warning("identity provider unavailable", extra={"url": url, "reason": reasons.of_connection(error)})
            raise IdentityProviderUnavailableError from None
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            _logger.warning("identity provider unavailable", extra={"url": url, "reason": response.status_code})
            raise IdentityProviderUnavailableError
        try:
            body = orjson.loads(received)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise invalid_response(f"no JSON object from {url}, status {response.status_code}")
        return response.status_code, body


def invalid_response(reason: str) -> IdentityProviderInvalidError:
    """Logs why a response of the provider is unusable, and returns the error for the request."""
    _logger.warning("identity provider sent an unusable response", extra={"reason": reason})
    return IdentityProviderInvalidError()
