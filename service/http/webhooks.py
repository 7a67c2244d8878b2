"""Responds to `POST /hooks/<token>`, which starts a run of the webhook's flow."""

import base64
import math
import re
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.core.database import Database
from db.row_types import RunRow, WebhookRow
from db.runs import reads
from domain import ids
from domain.enums import RunStatus
from domain.errors import (
    FlowRunsError,
    InvalidArgumentError,
    ProblemsError,
    QuotaExceededError,
)
from domain.ids import IdKind
from domain.runs.state_machine import FINAL
from domain.time import clock
from engine.compiled_flow import FlowCache
from resolvers import projects, webhooks
from resolvers.context import Context
from resolvers.flow_runs import waiting
from resolvers.webhooks import Call
from service.http.request_limits import bounded

WAIT = "wait"
"""URL parameter: milliseconds to wait for the run's end."""
_CREDENTIAL_WORDS = frozenset(
    {"auth", "authorization", "cookie", "credential", "credentials", "jwt", "key", "password", "secret", "token"}
    | {"apikey", "hmac", "passwd", "session", "sig", "signature", "signatures"}
)
"""Words in the names of headers by which senders prove who they are. The run does not get such headers: its input is
shown to everybody who may see the run."""
_NO_CREDENTIALS = frozenset({"idempotency-key"})

_MILLISECONDS = re.compile("[0-9]{1,9}")

_OUTCOME = frozenset({"status", "output", "error_code", "error_message", "failed_step_name"})


class Webhooks:
    """Receives webhook deliveries."""

    def __init__(self, database: Database, flows: FlowCache, max_body_bytes: int) -> None:
        self._database = database
        self._flows = flows
        self._max_body_bytes = max_body_bytes

    def route(self) -> Route:
        """Returns the route of webhooks."""
        # `_started` limits the body, so that the error can be JSON.
        return Route("/hooks/{token}", self._receive, methods=["POST"], max_body_size=sys.maxsize)

    async def _receive(self, request: Request) -> Response:
        try:
            return await self._started(request)
        except FlowRunsError as error:
            return _refusal(error)

    async def _started(self, request: Request) -> Response:
        webhook = await webhooks.find(self._database, request.path_params["token"])
        milliseconds = _wait_of(request)
        body = await Request(request.scope, bounded(request.receive, self._max_body_bytes)).body()
        context = webhooks.context_of(self._database, self._flows, webhook)
        try:
            run_id = await webhooks.receive(context, webhook, _call(request, body, webhook.signature_header))
        except QuotaExceededError as error:
            return await self._beyond_quota(webhook, error)
        if not milliseconds:
            return _json({"runId": ids.encode(IdKind.RUN, run_id)}, 202)
        await waiting.wait_for_status(context, run_id, FINAL, milliseconds)
        return await _outcome(context, run_id)

    async def _beyond_quota(self, webhook: WebhookRow, error: QuotaExceededError) -> Response:
        """Returns the error with the time of the next quota period. The run was written, and can be retried."""
        resets_at = await projects.quota_resets_at(self._database, webhook.project_id)
        # None if the quota was removed.
        seconds = (resets_at - clock.now()).total_seconds() if resets_at is not None else 0
        response = _refusal(error, runId=ids.encode(IdKind.RUN, error.run_id))
        response.headers["Retry-After"] = str(math.ceil(max(seconds, 1)))
        return response


def _wait_of(request: Request) -> int:
    text = request.query_params.get(WAIT, "0")
    if not _MILLISECONDS.fullmatch(text) or int(text) > waiting.MAX_WAIT_MS:
        raise InvalidArgumentError(f"`{WAIT}` must be a number of milliseconds from 0 to {waiting.MAX_WAIT_MS}.")
    return int(text)


def _call(request: Request, body: bytes, signature_header: str | None) -> Call:
    headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
    query = [(name, value) for name, value in request.query_params.multi_items() if name != WAIT]
    shown_headers = {
        name: value for name, value in headers.items() if name != signature_header and not is_credential(name)
    }
    content = _content(body, headers.get("content-type", ""))
    return Call(
        body, headers, {"method": request.method, "query": _collected(query), "headers": shown_headers, **content}
    )


def is_credential(header: str) -> bool:
    """True if the header, whose name is in lower case, holds a credential or a signature of the sender."""
    return header not in _NO_CREDENTIALS and not _CREDENTIAL_WORDS.isdisjoint(header.split("-"))


def _content(body: bytes, content_type: str) -> dict[str, Any]:
    """Returns the body as the run sees it: `body`, or `bodyBase64` if it is neither JSON, a form nor text."""
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    if not body:
        return {"body": None}
    if media_type.endswith(("/json", "+json")):
        return {"body": _parsed(body)}
    if media_type == "application/x-www-form-urlencoded":
        return {"body": _form(body)}
    try:
        text = _text(body, media_type, parameters)
    except (UnicodeDecodeError, LookupError):
        text = None
    return {"body": text} if text is not None else {"body": None, "bodyBase64": base64.b64encode(body).decode()}


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidArgumentError(f"The body is not JSON: {error}") from None


def _form(body: bytes) -> dict[str, Any]:
    try:
        return _collected(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except ValueError:
        raise InvalidArgumentError("The body is not a form in UTF-8.") from None


def _text(body: bytes, media_type: str, parameters: str) -> str | None:
    if not (media_type.startswith("text/") or media_type.endswith(("/xml", "+xml"))):
        return None
    charset = next((value for name, value in _pairs(parameters) if name == "charset"), "utf-8")
    return body.decode(charset)


def _pairs(parameters: str) -> Iterable[tuple[str, str]]:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        yield name.strip(), value.strip().strip('"')


def _collected(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Returns an object of the pairs; the value of a repeated name is a list."""
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}


async def _outcome(context: Context, key: UUID) -> Response:
    """Returns the outcome of the run; status 504 if it has not ended in time."""
    run = await context.loaders.load(reads.by_ids, key, _OUTCOME)
    assert run is not None  # it has just been started
    result = {"runId": ids.encode(IdKind.RUN, key), "status": run.status}
    if run.status == RunStatus.SUCCEEDED:
        return _json({**result, "output": orjson.Fragment(run.output or "null")}, 200)
    if run.status not in FINAL:
        return _json(result, 504)
    return _json({**result, "error": _run_error(run)}, 500)


def _run_error(run: RunRow) -> dict[str, Any] | None:
    if run.error_code is None:
        return None
    return {"code": run.error_code, "message": run.error_message, "stepName": run.failed_step_name}


def _refusal(error: FlowRunsError, **more: str) -> Response:
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, ProblemsError):
        content["problems"] = [{"path": problem.path, "message": problem.message} for problem in error.problems]
    return _json({**more, "error": content}, error.http_status)


def _json(content: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
