"""Answers input requests, so that their runs resume."""

from typing import Any
from uuid import UUID

from db.core.unit_of_work import UnitOfWork
from db.row_types import RunRow
from db.runs import input_requests, transitions
from db.runs import reads as run_reads
from db.sql.rows import AnyRow
from domain import clock, ids, json_codec, json_schema
from domain.enums import InputRequestStatus, RunStatus
from domain.errors import (
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputInvalidError,
    InputRequestNotFoundError,
    RunNotFoundError,
    RunNotPausedError,
)
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context


async def resume(context: Context, run_id: str, request_id: str, response: Any) -> AnyRow:
    """Answers an input request and resumes its run; returns the request. One of several concurrent answers wins.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotPausedError, InputRequestNotFoundError, InputAlreadyAnsweredError,
        InputExpiredError, InputInvalidError, InputTooLargeError, InvalidArgumentError.
    """
    key, request_key = ids.decode(IdKind.RUN, run_id), ids.decode(IdKind.INPUT_REQUEST, request_id)
    run = (await context.database.read(run_reads.by_ids, [key], frozenset({"status"}))).get(key)
    if run is None or not authorize.can_see(context.viewer, run):
        raise RunNotFoundError
    request = await context.database.read(input_requests.get, key, request_key)
    _refuse_unanswerable(run, request)
    assert request is not None
    text = json_codec.encode(response, limit=json_codec.MAX_INPUT_BYTES, what="response")
    schema = json_schema.compile_schema(json_codec.decode(request.answer_schema))
    if problems := json_schema.problems(schema, response, "response"):
        raise InputInvalidError(problems)
    await context.database.write(_answer, key, request, text, context.viewer.name)
    return request


def _refuse_unanswerable(run: RunRow, request: AnyRow | None) -> None:
    if request is None:
        raise InputRequestNotFoundError
    if request.status == InputRequestStatus.ANSWERED:
        raise InputAlreadyAnsweredError
    expired = request.expires_at is not None and request.expires_at <= clock.now()
    if request.status == InputRequestStatus.EXPIRED or (request.status == InputRequestStatus.PENDING and expired):
        raise InputExpiredError
    if run.status != RunStatus.PAUSED:
        raise RunNotPausedError(f"The run is {run.status} and waits for no answer.")


def _answer(uow: UnitOfWork, run_id: UUID, request: AnyRow, text: str, answered_by: str) -> None:
    # Locks the run's row first, as all units of work do: another order would cause deadlocks.
    if not transitions.resume(uow, run_id, f"Answered with the key {answered_by!r}: {request.title}"):
        now = input_requests.get(uow.conn, run_id, request.id)
        if now is not None and now.status == InputRequestStatus.ANSWERED:
            raise InputAlreadyAnsweredError
        raise RunNotPausedError
    if not input_requests.answer(uow, request.id, text):
        raise InputAlreadyAnsweredError
