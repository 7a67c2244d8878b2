"""Downloads of run logs as text, and of run files."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import wraps
from typing import TypeAlias
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from db.core.database import Database
from db.row_types import LogLineRow, RunRow
from db.runs.output import logs
from db.runs.output.logs import LogFilter
from db.sql.keyset import Page, Position
from domain.errors import (
    FileStoreUnavailableError,
    FlowRunsError,
    RangeNotSatisfiableError,
    RunFileGoneError,
    RunFileNotFoundError,
    RunNotFoundError,
    TooManyConnectionsError,
)
from engine.compiled_flow import FlowCache
from engine.file_store import FileGoneError, FileStore, FileStoreError
from resolvers import authorize
from resolvers.context import Context, Viewer
from resolvers.flow_runs import files, runs
from resolvers.rates.budgets import REFUSED_COST, Budgets
from schema.charging import admit, charge, refusals_charged
from service.http.auth import authenticate, error_response
from service.http.viewers import Viewers
from service.streams.connection_registry import ConnectionRegistry
from service.streams.sse import abort_function

LINES_AT_ONCE = 1_000
"""Log lines that one statement reads. A download holds that many lines in memory."""
DOWNLOAD_COST = REFUSED_COST
"""Cost of a download without its content: that of a refused request, so that a refused download costs as much. Each
line of a log costs 1 more."""
BYTES_OF_COST = 10_240
"""Bytes of a file that cost 1."""

_FILE_COLUMNS = frozenset({"name", "size", "media_type", "key"})
_HEADERS = {
    # A stored file may be a page with scripts: it must not run in the origin of the service.
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class WatchedDownload(Response):
    """A response whose connection is dropped when its key or token is revoked or expires."""

    def __init__(self, response: StreamingResponse, connections: ConnectionRegistry, viewer: Viewer) -> None:
        self._response = response
        self._connections = connections
        self._viewer = viewer
        self.background = None
        self.status_code = response.status_code
        self.raw_headers = response.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response. One that is cut off has not its whole length, or no last chunk, so clients see that."""
        revoked = asyncio.Event()
        abort = abort_function(scope)
        try:
            connection = self._connections.open(self._viewer, close=lambda _: revoked.set(), abort=abort)
        except TooManyConnectionsError as error:
            await error_response(error)(scope, receive, send)
            return
        sending = asyncio.create_task(self._response(scope, receive, send))
        waiting = asyncio.create_task(revoked.wait())
        try:
            await asyncio.wait([sending, waiting], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            else:
                abort()
        finally:
            connection.release()
            for task in (sending, waiting):
                task.cancel()
            await asyncio.gather(sending, waiting, return_exceptions=True)


Endpoint: TypeAlias = Callable[["Downloads", Request, Context], Awaitable[Response]]


def _charged(endpoint: Endpoint) -> Callable[["Downloads", Request], Awaitable[Response]]:
    """Authenticates requests, charges those that are refused, and turns errors that clients may see into responses."""

    @wraps(endpoint)
    async def respond(downloads: "Downloads", request: Request) -> Response:
        try:
            context = await downloads.context(request)
            await admit(context)
            with refusals_charged(context):
                return await endpoint(downloads, request, context)
        except FlowRunsError as error:
            return error_response(error)

    return respond


class Downloads:
    """Serves run logs and run files to clients with a key of the project."""

    def __init__(
        self,
        database: Database,
        viewers: Viewers,
        flows: FlowCache,
        store: FileStore,
        connections: ConnectionRegistry,
        budgets: Budgets,
    ) -> None:
        self._budgets = budgets
        self._connections = connections
        self._database = database
        self._viewers = viewers
        self._flows = flows
        self._store = store

    async def context(self, request: Request) -> Context:
        """Returns the context of a request.

        Raises:
            UnauthenticatedError: the request shows no valid key.
        """
        viewer = await authenticate(request, self._viewers)
        return Context(self._database, self._flows, viewer, budgets=self._budgets)

    @_charged
    async def log(self, request: Request, context: Context) -> Response:
        """Responds to `GET /runs/<run ID>/log` with the whole log of a run, which is read and sent in pages."""
        run_id = request.path_params["run_id"]
        authorize.require_payloads(context.viewer)
        run = await runs.get(context, run_id, frozenset())
        if run is None:
            raise RunNotFoundError
        first = await self._log_page(run, None)
        await self._charge(context, await self._number_of_lines(run, first))
        headers = _HEADERS | {"content-disposition": f'inline; filename="{run_id}.log"'}
        response = StreamingResponse(self._text(run, first), media_type="text/plain", headers=headers)
        return WatchedDownload(response, self._connections, context.viewer)

    @_charged
    async def file(self, request: Request, context: Context) -> Response:
        """Responds to `GET /files/<file ID>` with a file, or with the requested range of it."""
        row = await files.get(context, request.path_params["file_id"], _FILE_COLUMNS)
        if row is None:
            raise RunFileNotFoundError
        start, end = _range_of(request, row.size)
        headers = _HEADERS | {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(row.name, safe='')}",
            "content-type": row.media_type,
            "content-length": str(end - start),
            "accept-ranges": "bytes",
        }
        is_part = (start, end) != (0, row.size)
        if is_part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{row.size}"
        status = 206 if is_part else 200
        has_content = request.method != "HEAD" and start < end
        cost = await self._charge(context, (end - start) // BYTES_OF_COST if has_content else 0)
        if not has_content:
            return Response(status_code=status, headers=headers)
        try:
            content = await self._content(row.key, start, end)
        except (RunFileGoneError, FileStoreUnavailableError):
            # Nothing is sent, so it costs what a refused download does.
            self._budgets.refund(context.viewer.key_id, context.viewer.cost_per_minute, cost - DOWNLOAD_COST)
            raise
        response = StreamingResponse(content, status, headers=headers)
        return WatchedDownload(response, self._connections, context.viewer)

    async def _charge(self, context: Context, of_content: int) -> int:
        """Charges a download, and returns its cost: `DOWNLOAD_COST` and what its content costs, but at most the whole
        limit of the key, so that each key can download everything.

        Raises:
            RateLimitedError: the key cannot spend so much yet.
        """
        cost, limit = DOWNLOAD_COST + of_content, self._budgets.limit_of(context.viewer.cost_per_minute)
        return (await charge(context, cost if limit is None else min(cost, limit))).cost

    async def _number_of_lines(self, run: RunRow, first: Sequence[LogLineRow]) -> int:
        if len(first) < LINES_AT_ONCE:
            return len(first)
        return (await self._database.read(logs.counts_by_runs, [run.id], LogFilter())).get(run.id, 0)

    async def _log_page(self, run: RunRow, after: LogLineRow | None) -> Sequence[LogLineRow]:
        position = None if after is None else Position(after.number, after.run_id)
        return await self._database.read(logs.page, run.id, Page(LINES_AT_ONCE, after=position))

    async def _text(self, run: RunRow, log_lines: Sequence[LogLineRow]) -> AsyncIterator[str]:
        while log_lines:
            yield "".join(_text_of(line) for line in log_lines)
            log_lines = await self._log_page(run, log_lines[-1]) if len(log_lines) == LINES_AT_ONCE else ()

    async def _content(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        try:
            return await self._store.get(key, start, end)
        except FileGoneError:
            raise RunFileGoneError from None
        except FileStoreError as error:
            raise FileStoreUnavailableError from error


def _text_of(line: LogLineRow) -> str:
    at = line.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    where = f" [{line.step_name} #{line.attempt}]" if line.step_name is not None else ""
    # Indented, so that a line break in a message cannot forge a log line.
    message = "\n    ".join(line.message.splitlines())
    return f"{at} {line.level:<7}{where} {message}\n"


def _range_of(request: Request, size: int) -> tuple[int, int]:
    """Returns the offsets of the requested bytes: the offset of the first byte, and the one after the last.

    Raises:
        RangeNotSatisfiableError: the file has none of the requested bytes.
    """
    requested = _RANGE.fullmatch(request.headers.get("range", "").strip())
    # Requests for several ranges, and conditional ones, get the whole file, as HTTP allows.
    if requested is None or requested.group(0) == "bytes=-" or "if-range" in request.headers:
        return 0, size
    first, last = requested.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise RangeNotSatisfiableError(f"The file has {size:,} bytes.")
    return start, end
