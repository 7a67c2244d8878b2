"""A receiver of deliveries: a real HTTP server whose paths answer in different ways, and remembers what it got."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from tests.support.processes.listener import answering


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The header `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


class Receiver:
    """Answers by the first part of the path: `/ok`, `/hang`, `/redirect` to `/ok`, `/echo` with the end of the body, or
    a status such as `/503`."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.arrived = asyncio.Event()
        self.statuses: dict[str, int] = {}
        """Statuses that paths have for now."""
        self.under_way = 0
        self.most_under_way = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def of(self, path: str) -> list[Received]:
        """Returns the requests for a path."""
        return [request for request in self.requests if request.path == path]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take a request."""
        body = b""
        is_complete = False
        while not is_complete:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # The client was killed while it sent.
            body += message["body"]
            is_complete = not message.get("more_body")
        path = scope["path"]
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        self.requests.append(Received(path, headers, body))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.arrived.set()
        try:
            await self.may_answer.wait()
            await self._answer(path, body, send, receive)
        finally:
            self.under_way -= 1

    async def _answer(self, path: str, body: bytes, send: Any, receive: Any) -> None:
        kind = path.split("/")[1]
        if kind == "hang":
            await receive()  # until the client is gone
            return
        status = self.statuses.get(path) or {"ok": 200, "echo": 200, "redirect": 302}.get(kind) or int(kind)
        location = [(b"location", b"/ok/redirected")] if kind == "redirect" else []
        start = {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain"), *location],
        }
        await send(start)
        await send(
            {"type": "http.response.body", "body": body[-500:] if kind == "echo" else b"answer of " + path.encode()}
        )


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Yields a receiver that listens."""
    receiver = Receiver()
    async with answering(receiver) as receiver.url:
        yield receiver
