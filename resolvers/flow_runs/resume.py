"""Resumes runs that wait for the response to an input request."""

from dataclasses import dataclass
from typing import Any

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.row_types import InputRequestRow, RunRow
from db.runs import input_requests, transitions
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
from domain.ids import IdKind
from domain.json_defaults import CheckedSchema
from domain.time import clock
from engine.run_creation import Idempotency
from resolvers import values
from resolvers.context import Context, Viewer
from resolvers.flow_runs import runs


async def resume(
    context: Context, run_id: str, request_id: str, response: Any, idempotency_key: str | None = None
) -> InputRequestRow:
    """Responds to an input request, so that its run continues; returns the request.

    If several clients respond at once, exactly one response is accepted. The same response from the same API key, or
    with the same idempotency key, finds the success of the first one.

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
    schema = CheckedSchema(json_codec.decode(request.answer_schema))
    filled = schema.fill(response, "response")
    text = values.encode(filled, limit=json_codec.MAX_INPUT_BYTES, what="response")
    answer = _Answer(text, context.viewer, context.origin, idempotency_key)
    if answer.is_recorded(request):
        return request
    _check_answerable(run, request)
    schema.accept(filled, "response")
    await context.database.write(_answer, run, request, answer)
    return request


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response to an input request, and who gives it."""

    text: str
    viewer: Viewer
    origin: Origin
    idempotency_key: str | None

    def is_recorded(self, request: InputRequestRow) -> bool:
        """Returns True if this response was accepted before.

        Raises:
            InputAlreadyAnsweredError: another response was accepted.
            IdempotencyConflictError: another response with this idempotency key was accepted.
        """
        if request.status != InputRequestStatus.ANSWERED:
            return False
        has_same_key = self.idempotency_key is not None and request.idempotency_key == self.idempotency_key
        if request.answer == self.text and (has_same_key or request.answered_by_key_id == self.viewer.key_id):
            return True
        raise IdempotencyConflictError if has_same_key else InputAlreadyAnsweredError


def _check_answerable(run: RunRow, request: InputRequestRow) -> None:
    expired = request.expires_at is not None and request.expires_at <= clock.now()
    if request.status == InputRequestStatus.EXPIRED or (request.status == InputRequestStatus.PENDING and expired):
        raise InputExpiredError
    if run.status != RunStatus.PAUSED:
        raise RunNotPausedError(f"The run is {run.status} and is not waiting for a response.")


def _answer(uow: UnitOfWork, run: RunRow, request: InputRequestRow, answer: _Answer) -> None:
    # The run's row is locked before the request's, as in every transaction: otherwise two of them could deadlock.
    if not transitions.resume(uow, run.id, f"Answered with the key {answer.viewer.name!r}: {request.title}"):
        current = input_requests.get(uow.conn, run.id, request.id)
        if current is not None and answer.is_recorded(current):
            return
        raise RunNotPausedError
    if not input_requests.answer(uow, request.id, answer.text, answer.origin.actor, answer.idempotency_key):
        raise InputAlreadyAnsweredError
    details = {"requestId": ids.encode(IdKind.INPUT_REQUEST, request.id), "stepName": request.step_name}
    audit_events.record(uow, answer.origin, AuditAction.RESUME_RUN, IdKind.RUN, run.id, run.project_id, details=details)
