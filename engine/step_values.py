"""Inputs, outputs and errors of steps in the form that the journal stores."""

from typing import Any

from domain import json_codec
from domain.errors import FlowRunsError, InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError
from domain.runs.fingerprint import fingerprint
from domain.runs.run_log import storable
from engine.errors import StepError

MAX_MESSAGE = 4_000
"""Largest number of characters of an error's message. Longer messages are cut."""
MAX_CODE = 100
"""Largest number of characters of an error's code."""


def encode_input(value: Any) -> str:
    """Returns a rendered input as JSON text.

    Raises:
        StepError: INPUT_TOO_LARGE, NUMBER_OUT_OF_RANGE, OUTPUT_NOT_JSON.
    """
    return _encode(value, "input", "INPUT_TOO_LARGE")


def encode_output(value: Any) -> str:
    """Returns an output as JSON text.

    Raises:
        StepError: OUTPUT_TOO_LARGE, NUMBER_OUT_OF_RANGE, OUTPUT_NOT_JSON.
    """
    return _encode(value, "output", "OUTPUT_TOO_LARGE")


def _encode(value: Any, what: str, too_large_code: str) -> str:
    try:
        return json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what=what)
    except InputTooLargeError as error:
        raise StepError(too_large_code, error.message, retryable=False) from None
    except NumberOutOfRangeError as error:
        raise StepError(error.code, error.message, retryable=False) from None
    except InvalidArgumentError as error:
        raise StepError("OUTPUT_NOT_JSON", error.message, retryable=False) from None


def storable_error(error: StepError) -> StepError:
    """Returns `error` in a form that the journal can store: actions may raise errors with any text and details."""
    message = storable(error.message, MAX_MESSAGE)
    stored = StepError(
        storable(error.code, MAX_CODE),
        message,
        retryable=error.retryable,
        details=error.details,
        retry_after=error.retry_after,
    )
    try:
        error_text(stored)
    except FlowRunsError:
        stored.details = None
    return stored


def json_details(error: StepError) -> Any:
    """Returns the details of `error` as a JSON value, whose texts can be masked; None if they cannot be one.

    Actions may raise errors with any details.
    """
    try:
        return json_codec.decode(json_codec.encode(error.details, limit=json_codec.MAX_INPUT_BYTES, what="error"))
    except FlowRunsError:
        return None


def error_columns(step_name: str | None, error: StepError) -> dict[str, Any]:
    """Returns the columns of a run that ended with `error`, at the step `step_name` if any."""
    return {
        "failed_step_name": step_name,
        "error_code": error.code,
        "error_message": error.message,
        "error_fingerprint": fingerprint(step_name, error.code, error.message),
    }


def error_document(error: StepError) -> dict[str, Any]:
    """Returns `error` in the form that later steps see in `steps.<name>.error`."""
    return {"code": error.code, "message": error.message, "details": error.details}


def error_text(error: StepError) -> str:
    """Returns `error` as JSON text."""
    return json_codec.encode(error_document(error), limit=json_codec.MAX_INPUT_BYTES, what="error")
