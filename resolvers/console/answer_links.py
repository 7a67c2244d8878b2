"""Creates links to input requests, and answers requests by them."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from db import access_tokens, audit_events
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import InputRequestRow, RunRow
from db.runs import reads
from db.runs.waits import inbox
from domain import ids
from domain.access_token import TokenKeys
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import InputRequestStatus, RunStatus
from domain.errors import (
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputRequestNotFoundError,
    RunNotPausedError,
)
from domain.ids import IdKind
from domain.runs import answer_link
from domain.runs.answer_link import MAX_LIFETIME, AnswerLink
from domain.time import clock
from engine.secrets.store import SecretStore
from resolvers import authorize, values
from resolvers import inbox as requests
from resolvers.context import Context
from resolvers.flow_runs import resume
from resolvers.flow_runs.resume import Responder
from resolvers.rates.budgets import Budgets

DEFAULT_LIFETIME = "P1D"
"""Lifetime of a link, unless the client gives one."""
REQUESTS_PER_MINUTE = 60
"""Requests with one link that are answered in a minute: each reads the question, and may check an answer of megabytes.
"""
_COLUMNS = frozenset(
    {"run_id", "status", "title", "description", "answer_schema", "step_name", "expires_at", "answered_by_key_id"}
    | {"answered_at", "answer", "idempotency_key"}
)


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """A new link. The service does not store its text."""

    link: AnswerLink
    text: str


class LinkState(Enum):
    """Whether a link can be used."""

    OPEN = auto()
    UNKNOWN = auto()
    """The text is not a link of this service, its key has ended, or the question was deleted."""
    LINK_EXPIRED = auto()
    ANSWERED = auto()
    """The question was answered, with this link or in another way."""
    QUESTION_EXPIRED = auto()
    RUN_ENDED = auto()
    """The run no longer waits for the answer."""


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A link with its question."""

    link: AnswerLink
    request: InputRequestRow
    run: RunRow


async def create(context: Context, request_id: str, expires_in: str, recipient: str | None) -> IssuedLink:
    """Creates a link whose holder can answer a pending request once, without a key.

    Raises:
        InvalidIdError, InvalidArgumentError, InputRequestNotFoundError, InputAlreadyAnsweredError, InputExpiredError,
        RunNotPausedError, TokenKeysMissingError.
        ForbiddenError: the viewer has no access to payloads, which the link shows.
    """
    viewer = context.viewer
    authorize.require_payloads(viewer)
    name = None if recipient is None else values.check_text("recipient", recipient)
    end = values.lifetime_end(expires_in, MAX_LIFETIME)
    request = await requests.get(context, request_id, frozenset({"run_id", "status", "step_name", "expires_at"}))
    if request is None:
        raise InputRequestNotFoundError
    _check_pending(request)
    ends = [each.replace(microsecond=0) for each in (viewer.expires_at, request.expires_at) if each is not None]
    link = AnswerLink(ids.new_uuid(), viewer.key_id, request.id, name, min([end, *ends]))
    text = answer_link.sign(context.token_keys, link)
    await context.database.write(_record, context.origin, request, link)
    return IssuedLink(link, text)


def _check_pending(request: InputRequestRow) -> None:
    match request.status:
        case InputRequestStatus.ANSWERED:
            raise InputAlreadyAnsweredError
        case InputRequestStatus.EXPIRED:
            raise InputExpiredError
        case InputRequestStatus.CANCELLED:
            raise RunNotPausedError
        case _ if request.expires_at is not None and request.expires_at <= clock.now():
            raise InputExpiredError


def _record(uow: UnitOfWork, origin: Origin, request: InputRequestRow, link: AnswerLink) -> None:
    details = {
        "requestId": ids.encode(IdKind.INPUT_REQUEST, request.id),
        "runId": ids.encode(IdKind.RUN, request.run_id),
        "stepName": request.step_name,
        "recipient": link.recipient,
        "expiresAt": link.expires_at,
    }
    action = AuditAction.CREATE_ANSWER_LINK
    audit_events.record(uow, origin, action, IdKind.ANSWER_LINK, link.id, request.project_id, details=details)


async def open_link(database: Database, keys: TokenKeys, text: str, budgets: Budgets) -> OpenedLink | LinkState:
    """Returns the question of a link that can be used, or why it cannot be used. It changes nothing but the budget.

    Raises:
        RateLimitedError: the link was used `REQUESTS_PER_MINUTE` times.
    """
    link = answer_link.verified(keys, text)
    if link is None:
        return LinkState.UNKNOWN
    await budgets.charge(link.id, REQUESTS_PER_MINUTE, 1)
    key = await database.read(access_tokens.active_key, link.id, link.key_id)
    if key is None:
        return LinkState.UNKNOWN
    request = (await database.read(inbox.by_ids, [link.request_id], _COLUMNS)).get(link.request_id)
    if request is None or key.project_id not in (None, request.project_id):
        return LinkState.UNKNOWN
    run = (await database.read(reads.by_ids, [request.run_id], {"status", "project_id"})).get(request.run_id)
    state = _state(link, request, run)
    return state if run is None or state is not LinkState.OPEN else OpenedLink(link, request, run)


def _state(link: AnswerLink, request: InputRequestRow, run: RunRow | None) -> LinkState:
    now = clock.now()
    if run is None:
        return LinkState.UNKNOWN
    if request.status == InputRequestStatus.ANSWERED:
        return LinkState.ANSWERED
    if request.status == InputRequestStatus.EXPIRED or (request.expires_at is not None and request.expires_at <= now):
        return LinkState.QUESTION_EXPIRED
    if request.status == InputRequestStatus.CANCELLED or run.status != RunStatus.PAUSED:
        return LinkState.RUN_ENDED
    return LinkState.LINK_EXPIRED if link.expires_at <= now else LinkState.OPEN


async def answer(
    database: Database, secrets: SecretStore, opened: OpenedLink, value: Any, request_id: str | None
) -> LinkState | None:
    """Answers the question of a link; returns None if the answer was accepted, or why it was not.

    Raises:
        InputInvalidError, InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError: another answer can be given.
    """
    link = opened.link
    by = f"Answered by the link for {link.recipient!r}" if link.recipient is not None else "Answered by a link"
    responder = Responder(by, Origin(link.actor, request_id))
    try:
        await resume.respond(secrets, database, opened.run, opened.request, value, responder)
    except InputAlreadyAnsweredError:
        return LinkState.ANSWERED
    except InputExpiredError:
        return LinkState.QUESTION_EXPIRED
    except RunNotPausedError:
        return LinkState.RUN_ENDED
    return None
