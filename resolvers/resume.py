"""Answers to the questions on which runs wait."""

from typing import Any
from uuid import UUID

from db import inputs, runs, transitions
from db.rows import AnyRow
from domain import clock, ids, json_schema, payloads
from domain.errors import (
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputInvalidError,
    InputRequestNotFoundError,
    RunNotFoundError,
    RunNotPausedError,
)
from domain.ids import IdKind
from domain.states import InputRequestStatus, RunStatus
from resolvers import authorize
from resolvers.context import Context


async def pending(context: Context, run_id: UUID) -> list[AnyRow]:
    """The questions on which a run waits, oldest first."""
    return await context.loaders.load(inputs.pending_by_runs, run_id) or []


async def resume(context: Context, run_id: str, request_id: str, response: Any) -> AnyRow:
    """Answer a question, so that its run goes on; returns the question. Of answers that race, one wins.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotPausedError, InputRequestNotFoundError, InputAlreadyAnsweredError,
        InputExpiredError, InputInvalidError, InputTooLargeError, InvalidArgumentError.
    """
    key, request_key = ids.decode(IdKind.RUN, run_id), ids.decode(IdKind.INPUT_REQUEST, request_id)
    run = (await context.database.read(runs.by_ids, [key], frozenset({"status"}))).get(key)
    if run is None or not authorize.sees(context.viewer, run):
        raise RunNotFoundError
    request = await context.database.read(inputs.get, key, request_key)
    _refuse_unanswerable(run, request)
    assert request is not None
    text = payloads.encode(response, limit=payloads.MAX_INPUT_BYTES, what="response")
    schema = json_schema.compile_schema(payloads.decode(request.answer_schema))
    if faults := json_schema.problems(schema, response, "response"):
        raise InputInvalidError(faults)
    await context.database.write(_answer, key, request, text, context.viewer.name)
    return request


def _refuse_unanswerable(run: AnyRow, request: AnyRow | None) -> None:
    if request is None:
        raise InputRequestNotFoundError
    if request.status == InputRequestStatus.ANSWERED:
        raise InputAlreadyAnsweredError
    expired = request.expires_at is not None and request.expires_at <= clock.now()
    if request.status == InputRequestStatus.EXPIRED or (request.status == InputRequestStatus.PENDING and expired):
        raise InputExpiredError
    if run.status != RunStatus.PAUSED:
        raise RunNotPausedError(f"The run is {run.status} and waits for no answer.")


def _answer(conn: Any, run_id: UUID, request: AnyRow, text: str, answered_by: str) -> None:
    # The run's row first, as everywhere: two units that lock in different orders lock each other out.
    if not transitions.resume(conn, run_id, f"Answered with the key {answered_by!r}: {request.title}"):
        now = inputs.get(conn, run_id, request.id)
        if now is not None and now.status == InputRequestStatus.ANSWERED:
            raise InputAlreadyAnsweredError
        raise RunNotPausedError
    if not inputs.answer(conn, request.id, text):
        raise InputAlreadyAnsweredError
