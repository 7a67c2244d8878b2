"""Responds to calls of `/hooks/<token>`, which start runs of the webhook's flow."""

import logging
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid5

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from db.core.database import Database
from db.row_types import RunRow, WebhookRow
from db.runs import reads
from domain import ids, json_codec
from domain.enums import RunStatus
from domain.errors import (
    FlowRunsError,
    InvalidArgumentError,
    MethodNotAllowedError,
    ProblemsError,
    QuotaExceededError,
    RateLimitedError,
)
from domain.http import response_headers
from domain.ids import IdKind
from domain.observation.observer import SILENT, Limited, Observer
from domain.runs.state_machine import FINAL
from domain.time import clock
from engine.compiled_flow import FlowCache
from engine.secrets.key_ring import KeyRing
from resolvers import projects
from resolvers.context import Context
from resolvers.flow_runs import waiting
from resolvers.rates.budgets import Budgets
from resolvers.triggers import webhook_calls, webhooks
from resolvers.triggers.webhook_calls import Answer, Call, Delivery
from service.http import webhook_bodies
from service.http.request_limits import read_body
from service.streams.sse import stopping_function

_logger = logging.getLogger(__name__)

WAIT = "wait"
"""URL parameter with the milliseconds to wait for the run's end."""
_CREDENTIALS = re.compile(
    r"token|secret|signature|apikey|passw|auth(?!ors?\b)|cookie|credential|session|hmac|jwt|\b(key|sig|pass|pwd)\b"
)
"""Matches names of headers that may hold credentials. Runs do not get such headers unless the webhook keeps them."""
_HARMLESS = frozenset({"x-hub-signature-algorithm", ":authority", "idempotency-key", "x-event-key"})
"""Headers that match and hold no credentials. `X-Event-Key` is Bitbucket's kind of the event."""
_TOO_MANY_CALLS = "The webhook gets more calls than it accepts. Send the call again after the seconds in `Retry-After`."
MAX_WAITING = 200
"""Calls of one webhook that may wait for their runs in one process. Each reads the database once in a second or more
often."""
_TOO_MANY_WAIT = "Too many calls of the webhook wait for their runs. Send the call again later, or without `wait`."
_WARNED = timedelta(minutes=1)
"""Time between two log lines about a webhook that gets too many calls."""
_MILLISECONDS = re.compile("[0-9]{1,9}")
_OUTCOME = frozenset({"status", "output", "error_code", "error_message", "failed_step_name"})


class Webhooks:
    """Receives webhook deliveries."""

    def __init__(
        self,
        database: Database,
        flows: FlowCache,
        max_body_bytes: int,
        keys: KeyRing,
        budgets: Budgets,
        observer: Observer = SILENT,
    ) -> None:
        """`keys` decrypt the signing secrets of webhooks, and `budgets` limit their calls."""
        self._budgets = budgets
        self._warned: dict[UUID, datetime] = {}
        self._waiting: Counter[UUID] = Counter()
        self._keys = keys
        self._database = database
        self._observer = observer
        self._flows = flows
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Returns the routes of webhooks. A slash at the end makes no difference."""
        # `_started` limits the body, so that the error can be JSON.
        methods = ["GET", "POST", "OPTIONS"]
        return [
            Route(path, self._receive, methods=methods, max_body_size=sys.maxsize)
            for path in ("/hooks/{token}", "/hooks/{token}/")
        ]

    async def _receive(self, request: Request) -> Response:
        response = await self._respond(request)
        self._observer.webhook_called(response.status_code)
        return response

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._started(request)
        except FlowRunsError as error:
            response = _refusal(error)
            if isinstance(error, MethodNotAllowedError):
                response.headers["Allow"] = "POST"
            if isinstance(error, RateLimitedError):
                response.headers["Retry-After"] = str(error.retry_after)
            return response

    async def _started(self, request: Request) -> Response:
        webhook = await webhooks.find(self._database, request.path_params["token"])
        if (handshake := _handshake(request)) is not None:
            return handshake
        if webhook.signature_header is None:
            await self._charge(webhook, webhook.id)
        # HEAD shares the route of GET. It is a request without a body, and senders of events do not use it.
        if request.method != "POST" and not (request.method == "GET" and webhook.accepts_get):
            return await self._handshake_by_get(webhook, request)
        body = await read_body(request.receive, self._max_body_bytes)
        headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
        # The signature is checked first, so that a call without one learns nothing.
        webhook_calls.check_signature(webhook, headers, body, self._keys)
        if webhook.signature_header is not None:
            await self._charge(webhook, webhook.id)
        milliseconds = _wait_of(request)
        call = Call(body, headers, await self._shown(webhook, request, body))
        if (challenge := _slack_challenge(call)) is not None:
            return challenge
        if (answer := webhook_calls.handshake(webhook, call.request)) is not None:
            return self._answered(webhook, answer)
        if not milliseconds:
            return await self._run(webhook, request, call, 0)
        with self._counted(webhook.id):
            return await self._run(webhook, request, call, milliseconds)

    async def _run(self, webhook: WebhookRow, request: Request, call: Call, milliseconds: int) -> Response:
        """Starts the run of a call, or finds it, and waits for its end for `milliseconds`; returns the response."""
        context = webhook_calls.context_of(self._database, self._flows, webhook)
        context.is_stopping = stopping_function(request.scope)
        try:
            delivery = await webhook_calls.receive(context, webhook, call)
        except QuotaExceededError as error:
            return await self._beyond_quota(webhook, error)
        if milliseconds:
            # Raises if its token ends meanwhile.
            check = partial(webhooks.find, self._database, request.path_params["token"])
            await waiting.wait_for_status(context, delivery.run_id, FINAL, milliseconds, check)
            await check()
        return await self._response(context, webhook, call, delivery, has_waited=milliseconds > 0)

    @contextmanager
    def _counted(self, webhook_id: UUID) -> Iterator[None]:
        """Counts a call that waits, while the block lasts.

        Raises:
            RateLimitedError: `MAX_WAITING` calls wait already.
        """
        if self._waiting[webhook_id] >= MAX_WAITING:
            self._observer.rate_limited(Limited.WEBHOOK)
            raise RateLimitedError(1, _TOO_MANY_WAIT)
        self._waiting[webhook_id] += 1
        try:
            yield
        finally:
            self._waiting[webhook_id] -= 1
            self._waiting += Counter()  # forgets those without a call

    async def _charge(self, webhook: WebhookRow, budget_id: UUID) -> None:
        """Takes a call from a budget of the webhook.

        Raises:
            RateLimitedError: the webhook has had as many calls as it accepts.
        """
        try:
            await self._budgets.charge(budget_id, webhook.calls_per_minute, 1)
        except RateLimitedError as error:
            now = clock.now()
            warned = self._warned.get(webhook.id)
            if warned is None or not timedelta(0) <= now - warned < _WARNED:
                self._warned[webhook.id] = now
                _logger.warning("webhook limited", extra={"webhook_id": ids.encode(IdKind.WEBHOOK, webhook.id)})
            raise RateLimitedError(error.retry_after, _TOO_MANY_CALLS) from None

    async def _handshake_by_get(self, webhook: WebhookRow, request: Request) -> Response:
        """Returns the response to a handshake, which no sender signs.

        Raises:
            MethodNotAllowedError: the call is none, and such a call starts no run.
            RateLimitedError
        """
        if webhook.signature_header is not None:
            # Who has the URL alone must not use up what the sender has.
            await self._charge(webhook, uuid5(webhook.id, "unsigned"))
        if request.method == "GET":
            answer = webhook_calls.handshake(webhook, await self._shown(webhook, request, b""))
            if answer is not None:
                return self._answered(webhook, answer)
        raise MethodNotAllowedError

    async def _shown(self, webhook: WebhookRow, request: Request, body: bytes) -> dict[str, Any]:
        """Returns the request in the form that templates and runs see."""
        exposed = json_codec.decode(webhook.exposed_headers)
        coding = request.headers.get("content-encoding", "")
        content = await webhook_bodies.parse(
            body, request.headers.get("content-type", ""), coding, self._max_body_bytes
        )
        shown = ((name, value) for name, value in request.headers.items() if not _is_withheld(name, webhook, exposed))
        query = webhook_bodies.query(request.scope["query_string"])
        query.pop(WAIT, None)
        headers = webhook_bodies.collected(shown)
        return {"method": request.method, "query": query, "headers": headers, **content}

    async def _beyond_quota(self, webhook: WebhookRow, error: QuotaExceededError) -> Response:
        """Returns the error with the time of the next quota period. The run was created; a repeated call retries it."""
        resets_at = await projects.quota_resets_at(self._database, webhook.project_id)
        # None if the quota was removed.
        seconds = (resets_at - clock.now()).total_seconds() if resets_at is not None else 0
        response = _refusal(error, runId=ids.encode(IdKind.RUN, error.run_id))
        response.headers["Retry-After"] = str(math.ceil(max(seconds, 1)))
        return response

    async def _response(
        self, context: Context, webhook: WebhookRow, call: Call, delivery: Delivery, *, has_waited: bool
    ) -> Response:
        """Returns the response to a call that started a run or found one."""
        content: dict[str, Any] = {"runId": ids.encode(IdKind.RUN, delivery.run_id)}
        if delivery.is_duplicate:
            content["duplicate"] = True
        if delivery.retry_of is not None:
            content["retryOf"] = ids.encode(IdKind.RUN, delivery.retry_of)
        run: RunRow | None = None
        if has_waited:
            # None if the run was deleted meanwhile.
            run = await context.loaders.load(reads.by_ids, delivery.run_id, _OUTCOME)
        answer = webhook_calls.response(webhook, call.request, _run_scope(content["runId"], run))
        if answer is not None:
            return self._answered(webhook, answer)
        return _json(content, 202) if run is None else _outcome(content, run)

    def _answered(self, webhook: WebhookRow, answer: Answer) -> Response:
        """Returns the response that a webhook's template rendered, without headers that are invalid."""
        headers = {name.lower(): value for name, value in answer.headers.items() if _is_usable(name, value)}
        if dropped := [name for name, value in answer.headers.items() if not _is_usable(name, value)]:
            self._observer.webhook_headers_dropped(len(dropped))
            webhook_id = ids.encode(IdKind.WEBHOOK, webhook.id)
            _logger.warning("headers of response dropped", extra={"webhook_id": webhook_id, "names": dropped})
        return _rendered(answer, headers)


def _is_withheld(name: str, webhook: WebhookRow, exposed: list[str]) -> bool:
    is_signature = name == (webhook.signature_header or "").lower()
    may_be_credential = _CREDENTIALS.search(name) is not None and name not in _HARMLESS
    return (is_signature or may_be_credential) and name not in exposed


def _handshake(request: Request) -> Response | None:
    """Returns the response to a handshake that has neither a body nor a signature; None if the call is not a handshake.

    By such requests senders find out whether a URL accepts their events.
    """
    query = request.query_params
    if request.method == "OPTIONS":
        # CloudEvents.
        origin = request.headers.get("webhook-request-origin")
        allowed = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"} if origin else {}
        return Response(status_code=204, headers={"Allow": "POST, OPTIONS", **allowed})
    if request.method == "POST" and "validationToken" in query:
        return _plain(query["validationToken"])  # Microsoft Graph
    if request.method == "GET" and query.get("hub.mode") == "subscribe" and "hub.challenge" in query:
        return _plain(query["hub.challenge"])  # Meta and WebSub
    return None


def _slack_challenge(call: Call) -> Response | None:
    """Returns the response to Slack's verification of a URL, which is signed as its events are."""
    body = call.request.get("body")
    if isinstance(body, dict) and body.get("type") == "url_verification" and isinstance(body.get("challenge"), str):
        return _json({"challenge": body["challenge"]}, 200)
    return None


def _plain(text: str) -> Response:
    # The challenge comes from the caller, so it is always sent as plain text.
    return PlainTextResponse(text, headers={"X-Content-Type-Options": "nosniff"})


def _wait_of(request: Request) -> int:
    text = request.query_params.get(WAIT) or "0"
    if not _MILLISECONDS.fullmatch(text) or int(text) > waiting.MAX_WAIT_MS:
        raise InvalidArgumentError(f"`{WAIT}` must be a number of milliseconds from 0 to {waiting.MAX_WAIT_MS}.")
    return int(text)


def _run_scope(run_id: str, run: RunRow | None) -> dict[str, Any]:
    if run is None:
        return {"id": run_id}
    return {"id": run_id, "status": run.status, "output": json_codec.decode(run.output), "error": _run_error(run)}


def _outcome(content: Mapping[str, Any], run: RunRow) -> Response:
    """Returns the outcome of the run; status 504 if it has not ended in time."""
    result = {**content, "status": run.status}
    if run.status == RunStatus.SUCCEEDED:
        return _json({**result, "output": orjson.Fragment(run.output or "null")}, 200)
    if run.status not in FINAL:
        return _json(result, 504)
    return _json({**result, "error": _run_error(run)}, 500)


def _run_error(run: RunRow) -> dict[str, Any] | None:
    if run.error_code is None:
        return None
    return {"code": run.error_code, "message": run.error_message, "stepName": run.failed_step_name}


def _rendered(answer: Answer, headers: Mapping[str, str]) -> Response:
    """Returns the response of a webhook's template: text unchanged, other values as JSON, null as an empty body."""
    # A signed-in browser must not treat the response as a page of this service, whatever the template renders.
    headers = {**headers, "x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    is_text = isinstance(answer.body, str)
    headers.setdefault("content-type", "text/plain; charset=utf-8" if is_text else "application/json")
    content = answer.body.encode(errors="replace") if is_text else orjson.dumps(answer.body)
    return Response(content, answer.status, headers)


def _is_usable(name: str, value: str) -> bool:
    return response_headers.name_problem(name) is None and response_headers.value_problem(value) is None


def _refusal(error: FlowRunsError, **more: str) -> Response:
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, ProblemsError):
        content["problems"] = [{"path": problem.path, "message": problem.message} for problem in error.problems]
    return _json({**more, "error": content}, error.http_status)


def _json(content: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
