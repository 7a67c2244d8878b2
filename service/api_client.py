"""A client of the service's own GraphQL API, for the command line."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

_TIMEOUT = httpx.Timeout(90.0, connect=10.0)
"""Timeouts in seconds. A mutation may wait for 60 seconds (`waitMs`)."""
_SILENCE = httpx.Timeout(None, connect=10.0, read=60.0)
"""Timeouts of a stream, in seconds. After 60 seconds of silence it counts as lost: the service sends comments more
often."""
_PAUSE = 1.0
"""Seconds before a lost stream is opened again."""
_RESUMABLE = frozenset({"SLOW_CONSUMER", "SERVICE_STOPPING", "DATABASE_UNAVAILABLE"})
"""Codes of errors after which a stream continues from its last cursor."""


class ApiError(Exception):
    """The service cannot be reached, or refuses a request. The message is for people."""


class ApiClient:
    """Sends documents with an API key."""

    def __init__(self, url: str, key: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = f"{url.rstrip('/')}/graphql"
        self._headers = {"authorization": f"Bearer {key}"}
        self._sleep = sleep
        # Loading the certificate authorities takes longer than most requests.
        self._tls = httpx.create_ssl_context()

    def query(self, text: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns the data of the response.

        Raises:
            ApiError: the service cannot be reached, or responds with errors.
        """
        document = {"query": text, "variables": variables}
        try:
            response = httpx.post(self._url, json=document, headers=self._headers, timeout=_TIMEOUT, verify=self._tls)
        except httpx.HTTPError as error:
            raise ApiError(f"{self._url} cannot be reached: {error or type(error).__name__}.") from None
        return _data(_body(response))

    def mutate(self, text: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the success of the mutation with the alias `result`.

        Raises:
            ApiError: the same errors as `query`, and if the mutation returns an error.
        """
        result: dict[str, Any] = self.query(text, variables)["result"]
        if not result["__typename"].endswith("Success"):
            problems = "".join(f"\n  {each['path']}: {each['message']}" for each in result.get("problems", ()))
            raise ApiError(f"{result['code']}: {result['message']}{problems}")
        return result

    def stream(self, text: str, variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields the events of a subscription until it ends. A lost connection is resumed from the last cursor.

        Raises:
            ApiError: the service cannot be reached at the start, or ends the stream with an error.
        """
        cursor: str | None = None
        while True:
            try:
                for event in self._events(text, {**variables, "after": cursor}):
                    cursor = event.get("cursor", cursor)
                    yield event
            except (httpx.HTTPError, _InterruptedError) as error:
                if cursor is None:
                    raise ApiError(f"{self._url} cannot be reached: {error or type(error).__name__}.") from None
                self._sleep(_PAUSE)
                continue
            return

    def _events(self, text: str, variables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        headers = {**self._headers, "accept": "text/event-stream"}
        document = {"query": text, "variables": variables}
        streamed = httpx.stream("POST", self._url, json=document, headers=headers, timeout=_SILENCE, verify=self._tls)
        with streamed as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                response.read()
                if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise _InterruptedError(f"HTTP status {response.status_code}")
                _data(_body(response))
            for line in response.iter_lines():
                if line == "event: complete":
                    return
                if line.startswith("data:") and (content := line.removeprefix("data:").strip()):
                    yield from _data(json.loads(content), resumable=True).values()
        raise _InterruptedError("the connection was closed")


class _InterruptedError(Exception):
    """A stream ended before its end."""


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        raise ApiError(f"{response.url} responded with HTTP status {response.status_code} and without JSON.") from None
    return body


def _data(body: Mapping[str, Any], *, resumable: bool = False) -> dict[str, Any]:
    errors = body.get("errors")
    if not errors:
        data: dict[str, Any] = body["data"]
        return data
    code = errors[0].get("extensions", {}).get("code", "ERROR")
    if resumable and code in _RESUMABLE:
        raise _InterruptedError(code)
    raise ApiError(f"{code}: {errors[0]['message']}")
