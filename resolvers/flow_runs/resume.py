"""Resumes runs that wait for the response to an input request."""

from dataclasses import dataclass
from typing import Any

from db import audit_events
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import InputRequestRow, RunRow
from db.runs import transitions
from db.runs.waits import input_requests
from db.runs.waits.input_requests import Response
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import InputRequestStatus, RunStatus
from domain.errors import (
    IdempotencyConflictError,
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputRequestNotFoundError,
    RunNotPausedError,
)
from domain.flows.json_defaults import CheckedSchema
from domain.ids import IdKind
from domain.time import clock
from engine.run_creation import Idempotency
from engine.secrets.store import SecretStore
from resolvers import authorize, values
from resolvers.context import Context
from resolvers.flow_runs import runs


async def resume(
    context: Context, run_id: str, request_id: str, value: Any, idempotency_key: str | None = None
) -> InputRequestRow:
    """Responds to an input request with `value`, so that its run continues; returns the request.

    If several clients respond at once, exactly one response is accepted. A repetition of it from the same API key, or
    with the same idempotency key, succeeds as well.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotPausedError, InputRequestNotFoundError, InputAlreadyAnsweredError,
        InputExpiredError, InputInvalidError, InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError,
        IdempotencyConflictError.
    """
    Idempotency.of(idempotency_key, [])
    run = await runs.get_existing(context, run_id, frozenset({"status"}))
    request = await context.database.read(input_requests.get, run.id, ids.decode(IdKind.INPUT_REQUEST, request_id))
    if request is None:
        raise InputRequestNotFoundError
    viewer = context.viewer
    responder = Responder(f"Answered with the key {viewer.name!r}", context.origin, idempotency_key)
    secrets = SecretStore(context.database, context.secret_keys)
    with authorize.problems_hidden(viewer, "response"):
        await respond(secrets, context.database, run, request, value, responder)
    return request


@dataclass(frozen=True, slots=True)
class Responder:
    """The actor of a response to an input request, and the message and key of the response."""

    message: str
    """The message in the status history of the run."""
    origin: Origin
    idempotency_key: str | None = None


async def respond(
    secrets: SecretStore, database: Database, run: RunRow, request: InputRequestRow, value: Any, responder: Responder
) -> None:
    """Records the response `value`, so that the run continues. Values of the project's secrets are masked in it.

    Raises:
        RunNotPausedError, InputAlreadyAnsweredError, InputExpiredError, InputInvalidError, InputTooLargeError,
        InvalidArgumentError, NumberOutOfRangeError, IdempotencyConflictError.
    """
    schema = CheckedSchema(json_codec.decode(request.answer_schema))
    filled = schema.fill(value, "response")
    values.encode(filled, limit=json_codec.MAX_INPUT_BYTES, what="response")
    masked = (await secrets.masker(run.project_id)).value(filled)
    text = values.encode(masked, limit=json_codec.MAX_INPUT_BYTES, what="response")
    response = Response(text, responder.origin.actor, responder.idempotency_key)
    if _is_recorded(request, response):
        return
    _check_answerable(run, request)
    schema.accept(filled, "response")
    await database.write(_record, run, request, response, responder)


def _is_recorded(request: InputRequestRow, response: Response) -> bool:
    """Returns True if this response was accepted before.

    Raises:
        InputAlreadyAnsweredError: another response was accepted.
        IdempotencyConflictError: another response with this idempotency key was accepted.
    """
    if request.status != InputRequestStatus.ANSWERED:
        return False
    has_same_key = response.idempotency_key is not None and request.idempotency_key == response.idempotency_key
    key_id = response.by.id if response.by is not None else None
    is_same_viewer = key_id is not None and request.answered_by_key_id == key_id
    if (has_same_key or is_same_viewer) and json_codec.is_same(request.answer, response.text):
        return True
    raise IdempotencyConflictError if has_same_key else InputAlreadyAnsweredError


def _check_answerable(run: RunRow, request: InputRequestRow) -> None:
    expired = request.expires_at is not None and request.expires_at <= clock.now()
    if request.status == InputRequestStatus.EXPIRED or (request.status == InputRequestStatus.PENDING and expired):
        raise InputExpiredError
    if run.status != RunStatus.PAUSED:
        raise RunNotPausedError(f"The run is {run.status} and is not waiting for a response.")


def _record(uow: UnitOfWork, run: RunRow, request: InputRequestRow, response: Response, responder: Responder) -> None:
    # The run's row is locked before the request's, as in every transaction. Otherwise two of them could deadlock.
    if not transitions.resume(uow, run.id, f"{responder.message}: {request.title}"):
        current = input_requests.get(uow.conn, run.id, request.id)
        if current is not None and _is_recorded(current, response):
            return
        raise RunNotPausedError
    if not input_requests.answer(uow, request.id, response):
        raise InputAlreadyAnsweredError
    details = {"requestId": ids.encode(IdKind.INPUT_REQUEST, request.id), "stepName": request.step_name}
    audit_events.record(
        uow, responder.origin, AuditAction.RESUME_RUN, IdKind.RUN, run.id, run.project_id, details=details
    )
