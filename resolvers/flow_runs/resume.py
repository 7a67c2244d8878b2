"""Resumes runs that wait for the response to an input request."""

from typing import Any
from uuid import UUID

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.row_types import InputRequestRow, RunRow
from db.runs import input_requests, transitions
from db.runs.input_requests import Response
from domain import ids, json_codec, json_schema
from domain.enums import InputRequestStatus, RunStatus
from domain.errors import (
    IdempotencyConflictError,
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputInvalidError,
    InputRequestNotFoundError,
    RunNotPausedError,
)
from domain.ids import IdKind
from domain.time import clock
from engine.run_creation import Idempotency
from resolvers.context import Context
from resolvers.flow_runs import runs


async def resume(
    context: Context, run_id: str, request_id: str, value: Any, idempotency_key: str | None = None
) -> InputRequestRow:
    """Responds to an input request with `value`, so that its run continues; returns the request.

    If several clients respond at once, exactly one response is accepted. The same response from the same API key, or
    with the same idempotency key, finds the success of the first one.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotPausedError, InputRequestNotFoundError, InputAlreadyAnsweredError,
        InputExpiredError, InputInvalidError, InputTooLargeError, InvalidArgumentError, IdempotencyConflictError.
    """
    Idempotency.of(idempotency_key, [])
    run = await runs.get_existing(context, run_id, frozenset({"status"}))
    request = await context.database.read(input_requests.get, run.id, ids.decode(IdKind.INPUT_REQUEST, request_id))
    if request is None:
        raise InputRequestNotFoundError
    text = json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what="response")
    viewer = context.viewer
    response = Response(text, viewer.key_id, viewer.name, idempotency_key)
    await respond(context.database, run, request, value, response, f"Answered with the key {viewer.name!r}")
    return request


async def respond(
    database: Database, run: RunRow, request: InputRequestRow, value: Any, response: Response, message: str
) -> None:
    """Records `response`, which is `value` as JSON text, so that the run continues. `message` is for its history.

    Raises:
        RunNotPausedError, InputAlreadyAnsweredError, InputExpiredError, InputInvalidError, IdempotencyConflictError.
    """
    if _is_recorded(request, response):
        return
    _check_answerable(run, request)
    schema = json_schema.compile_schema(json_codec.decode(request.answer_schema))
    if problems := json_schema.problems(schema, value, "response"):
        raise InputInvalidError(problems)
    await database.write(_record, run.id, request, response, f"{message}: {request.title}")


def _is_recorded(request: InputRequestRow, response: Response) -> bool:
    """Returns True if this response was accepted before.

    Raises:
        InputAlreadyAnsweredError: another response was accepted.
        IdempotencyConflictError: another response with this idempotency key was accepted.
    """
    if request.status != InputRequestStatus.ANSWERED:
        return False
    has_same_key = response.idempotency_key is not None and request.idempotency_key == response.idempotency_key
    is_same_viewer = response.key_id is not None and request.answered_by_key_id == response.key_id
    if request.answer == response.text and (has_same_key or is_same_viewer):
        return True
    raise IdempotencyConflictError if has_same_key else InputAlreadyAnsweredError


def _check_answerable(run: RunRow, request: InputRequestRow) -> None:
    expired = request.expires_at is not None and request.expires_at <= clock.now()
    if request.status == InputRequestStatus.EXPIRED or (request.status == InputRequestStatus.PENDING and expired):
        raise InputExpiredError
    if run.status != RunStatus.PAUSED:
        raise RunNotPausedError(f"The run is {run.status} and is not waiting for a response.")


def _record(uow: UnitOfWork, run_id: UUID, request: InputRequestRow, response: Response, message: str) -> None:
    # The run's row is locked before the request's, as in every transaction: otherwise two of them could deadlock.
    if not transitions.resume(uow, run_id, message):
        current = input_requests.get(uow.conn, run_id, request.id)
        if current is not None and _is_recorded(current, response):
            return
        raise RunNotPausedError
    if not input_requests.answer(uow, request.id, response):
        raise InputAlreadyAnsweredError
