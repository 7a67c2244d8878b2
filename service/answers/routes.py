"""Responds to `/answer/<token>`: GET shows the form of a question, POST answers it, without an API key.

Only POST changes anything, so that programs which look at links, such as previews of chats, answer nothing.
"""

from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from db.core.database import UNREADABLE, Database
from domain import json_codec
from domain.access_token import TokenKeys
from domain.errors import (
    InputInvalidError,
    InputTooLargeError,
    InvalidArgumentError,
    NumberOutOfRangeError,
    RateLimitedError,
)
from domain.log_context import REQUEST_ID, current_log_fields
from engine.secrets.key_ring import KeyRing
from engine.secrets.store import SecretStore
from resolvers.console import answer_links
from resolvers.console.answer_links import LinkState, OpenedLink
from resolvers.rates.budgets import Budgets
from service.answers import form, page
from service.answers.form import MISSING, UnreadableValueError

PATH = "/answer/{token}"
_MAX_PARTS = 1_000
"""Values of a submitted form."""
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": page.POLICY,
    "referrer-policy": "no-referrer",  # The address is a credential.
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
_MESSAGES = {
    LinkState.UNKNOWN: (
        HTTPStatus.NOT_FOUND,
        "This link is not valid",
        "It may be incomplete, or was withdrawn. Ask the person who sent it for a new one.",
    ),
    LinkState.LINK_EXPIRED: (
        HTTPStatus.GONE,
        "This link has expired",
        "Ask the person who sent it for a new one.",
    ),
    LinkState.ANSWERED: (
        HTTPStatus.GONE,
        "This question was answered",
        "A link can be used once. There is nothing left to do.",
    ),
    LinkState.QUESTION_EXPIRED: (
        HTTPStatus.GONE,
        "This question has expired",
        "The time for an answer is over. There is nothing left to do.",
    ),
    LinkState.RUN_ENDED: (
        HTTPStatus.GONE,
        "This question needs no answer any more",
        "The automation that asked it has ended. There is nothing left to do.",
    ),
}


class AnswerPages:
    """Serves the pages of answer links."""

    def __init__(self, database: Database, token_keys: TokenKeys, secret_keys: KeyRing, budgets: Budgets) -> None:
        """`budgets` limit the requests with a link."""
        self._budgets = budgets
        self._database = database
        self._token_keys = token_keys
        self._secrets = SecretStore(database, secret_keys)

    def routes(self) -> list[Route]:
        """Returns the routes of the pages. HEAD is a GET without the page."""
        return [Route(PATH, self._show, methods=["GET"]), Route(PATH, self._answer, methods=["POST"])]

    async def _show(self, request: Request) -> Response:
        try:
            opened = await self._opened(request)
        except UNREADABLE:
            return _unavailable()
        except RateLimitedError as error:
            return _limited(error)
        if isinstance(opened, LinkState):
            return _message(opened)
        return _question(opened)

    async def _answer(self, request: Request) -> Response:
        try:
            opened = await self._opened(request)
            if isinstance(opened, LinkState):
                return _message(opened)
            return await self._answered(opened, await request.body())
        except UNREADABLE:
            return _unavailable()
        except RateLimitedError as error:
            return _limited(error)

    async def _answered(self, opened: OpenedLink, body: bytes) -> Response:
        try:
            given = parse_qs(
                body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=_MAX_PARTS
            )
        except ValueError:
            return _question(opened, problems=["The answer was not sent as a form."])
        root = form.root_field(json_codec.decode(opened.request.answer_schema))
        try:
            value = root.read(given)
            request_id = current_log_fields().get(REQUEST_ID)
            refused = await answer_links.answer(
                self._database,
                self._secrets,
                opened,
                None if value is MISSING else value,
                None if request_id is None else str(request_id),
            )
        except UnreadableValueError as error:
            return _question(opened, given, [str(error)])
        except InputInvalidError as error:
            return _question(opened, given, [f"{each.path}: {each.message}" for each in error.problems])
        except (InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError) as error:
            return _question(opened, given, [error.message])
        if refused is not None:
            return _message(refused)
        return _html(HTTPStatus.OK, page.message("Thank you", "Your answer was sent. You can close this page."))

    async def _opened(self, request: Request) -> OpenedLink | LinkState:
        text = request.path_params["token"]
        return await answer_links.open_link(self._database, self._token_keys, text, self._budgets)


def _question(
    opened: OpenedLink, values: dict[str, list[str]] | None = None, problems: list[str] | None = None
) -> Response:
    asked = opened.request
    root = form.root_field(json_codec.decode(asked.answer_schema))
    shown = root.defaults() if values is None else values
    text = page.question(asked.title, asked.description, root, shown, problems or [])
    return _html(HTTPStatus.UNPROCESSABLE_ENTITY if problems else HTTPStatus.OK, text)


def _message(state: LinkState) -> Response:
    status, title, text = _MESSAGES[state]
    return _html(status, page.message(title, text))


def _unavailable() -> Response:
    text = page.message("The service is unavailable", "Your answer was not sent. Try again in a few minutes.")
    return _html(HTTPStatus.SERVICE_UNAVAILABLE, text)


def _limited(error: RateLimitedError) -> Response:
    message = page.message("Too many requests", f"Nothing was sent. Try again in {error.retry_after} seconds.")
    response = _html(HTTPStatus.TOO_MANY_REQUESTS, message)
    response.headers["Retry-After"] = str(error.retry_after)
    return response


def _html(status: HTTPStatus, text: str) -> Response:
    return HTMLResponse(text, status_code=status, headers=_HEADERS)
