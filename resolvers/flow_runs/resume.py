"""Resumes runs that wait for the response to an input request."""

from typing import Any
from uuid import UUID

from db.core.unit_of_work import UnitOfWork
from db.row_types import InputRequestRow, RunRow
from db.runs import input_requests, transitions
from domain import ids, json_codec
from domain.enums import InputRequestStatus, RunStatus
from domain.errors import (
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputRequestNotFoundError,
    RunNotPausedError,
)
from domain.ids import IdKind
from domain.json_defaults import CheckedSchema
from domain.time import clock
from resolvers import values
from resolvers.context import Context
from resolvers.flow_runs import runs


async def resume(context: Context, run_id: str, request_id: str, response: Any) -> InputRequestRow:
    """Responds to an input request, so that its run continues; returns the request.

    If several clients respond at once, exactly one response is accepted.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotPausedError, InputRequestNotFoundError, InputAlreadyAnsweredError,
        InputExpiredError, InputInvalidError, InputTooLargeError, InvalidArgumentError,
        NumberOutOfRangeError.
    """
    run = await runs.get_existing(context, run_id, frozenset({"status"}))
    request = await context.database.read(input_requests.get, run.id, ids.decode(IdKind.INPUT_REQUEST, request_id))
    if request is None:
        raise InputRequestNotFoundError
    _check_answerable(run, request)
    text = values.encode(response, limit=json_codec.MAX_INPUT_BYTES, what="response")
    accepted = CheckedSchema(json_codec.decode(request.answer_schema)).accept(response, "response")
    if accepted is not response:
        text = values.encode(accepted, limit=json_codec.MAX_INPUT_BYTES, what="response")
    await context.database.write(_answer, run.id, request, text, context.viewer.name)
    return request


def _check_answerable(run: RunRow, request: InputRequestRow) -> None:
    if request.status == InputRequestStatus.ANSWERED:
        raise InputAlreadyAnsweredError
    expired = request.expires_at is not None and request.expires_at <= clock.now()
    if request.status == InputRequestStatus.EXPIRED or (request.status == InputRequestStatus.PENDING and expired):
        raise InputExpiredError
    if run.status != RunStatus.PAUSED:
        raise RunNotPausedError(f"The run is {run.status} and is not waiting for a response.")


def _answer(uow: UnitOfWork, run_id: UUID, request: InputRequestRow, text: str, key_name: str) -> None:
    # The run's row is locked before the request's, as in every transaction: otherwise two of them could deadlock.
    if not transitions.resume(uow, run_id, f"Answered with the key {key_name!r}: {request.title}"):
        current = input_requests.get(uow.conn, run_id, request.id)
        if current is not None and current.status == InputRequestStatus.ANSWERED:
            raise InputAlreadyAnsweredError
        raise RunNotPausedError
    if not input_requests.answer(uow, request.id, text):
        raise InputAlreadyAnsweredError
