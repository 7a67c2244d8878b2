"""Python steps: calls of functions that the operator registered, which may block, exit, raise or return anything."""

import asyncio
import inspect
import logging
from typing import Any, TypeAlias

from pydantic import Field

from domain import json_codec
from domain.errors import FlowRunsError, InputTooLargeError, InvalidArgumentError, NumberOutOfRangeError
from domain.flows.definition import LanguageModel
from domain.flows.templated import Templated
from engine.actions import Action, PermanentError
from engine.errors import StepError
from engine.steps.context import StepContext, ThreadContext
from engine.steps.kind import StepKind, StepSettings, validated_input
from engine.steps.threads import BlockingCalls

_logger = logging.getLogger("engine.step")
_MAX_MESSAGE = 2_000
"""Largest number of characters of the message of an action's exception. Longer messages are cut."""

_Result: TypeAlias = str | StepError
"""The output as JSON text, or the error. Errors are returned, not raised: some exceptions would stop the event loop."""


class PythonInput(LanguageModel):
    """A call of a Python function that the operator registered."""

    action: str = Field(min_length=1, max_length=200, description="Name under which the function is registered.")
    args: Templated[dict[str, Any]] = Field(default={}, description="Keyword arguments; may hold templates, or be one.")


class PythonKind(StepKind):
    """Calls a registered Python function."""

    name = "python"
    description = "Calls a registered Python function. The output is its return value."
    input_model = PythonInput
    secret_fields = ("args",)
    sends_idempotency_key = True

    def __init__(self, settings: StepSettings) -> None:
        super().__init__(settings)
        self._actions = settings.actions
        self._threads = BlockingCalls(settings.action_threads)

    async def run(self, rendered: Any, context: StepContext, /) -> Any:
        """Returns the return value of the action that `rendered`, a rendered `PythonInput`, names.

        Raises:
            StepError: INPUT_INVALID, ACTION_UNKNOWN, ACTION_ARGUMENTS, ACTION_FAILED, ACTION_EXITED, OUTPUT_NOT_JSON,
                OUTPUT_TOO_LARGE, WORKER_BUSY, or an error that the action raised itself.
        """
        call = _validated(rendered)
        action = self._actions.get(call.action)
        if action is None:
            message = f"This worker has no action {call.action!r}."
            raise StepError("ACTION_UNKNOWN", message, retryable=False)
        arguments = _bind_arguments(action, call.args, context)
        if action.is_coroutine:
            result = await self._on_loop(action, arguments)
        else:
            result = await self._threads.run(lambda: self._in_thread(action, arguments))
        if isinstance(result, StepError):
            raise result
        return json_codec.decode(result)

    def _in_thread(self, action: Action, arguments: inspect.BoundArguments) -> _Result:
        try:
            return _encode(action.function(*arguments.args, **arguments.kwargs))
        except BaseException as error:
            return _failure(action, error)

    async def _on_loop(self, action: Action, arguments: inspect.BoundArguments) -> _Result:
        try:
            return _encode(await action.function(*arguments.args, **arguments.kwargs))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failure(action, error)
        except BaseException as error:
            return _failure(action, error)


def _encode(value: Any) -> str:
    try:
        text = json_codec.encode(value, limit=json_codec.MAX_INPUT_BYTES, what="result of the action")
    except InputTooLargeError as error:
        raise StepError("OUTPUT_TOO_LARGE", error.message, retryable=False) from None
    except NumberOutOfRangeError as error:
        raise StepError(error.code, error.message, retryable=False) from None
    except InvalidArgumentError as error:
        raise StepError("OUTPUT_NOT_JSON", error.message, retryable=False) from None
    if json_codec.has_non_finite(value, text):
        raise StepError(
            "OUTPUT_NOT_JSON",
            "The result of the action contains NaN or an infinity.",
            retryable=False,
        )
    return text


def _validated(rendered: Any) -> PythonInput:
    """Returns the rendered input as a `PythonInput`."""
    try:
        # A copy, because the rendered input shares values with the outputs of other steps, and actions may change
        # arguments.
        copy = json_codec.decode(json_codec.encode(rendered, limit=json_codec.MAX_INPUT_BYTES, what="input"))
    except FlowRunsError as error:
        raise StepError("INPUT_INVALID", error.message, retryable=False) from None
    return validated_input(PythonInput, copy)


def _bind_arguments(action: Action, args: dict[str, Any], context: StepContext) -> inspect.BoundArguments:
    if action.takes_context and "ctx" in args:
        message = f"{action.name}: flows cannot set the argument 'ctx'."
        raise StepError("ACTION_ARGUMENTS", message, retryable=False)
    ctx = context if action.is_coroutine else ThreadContext.of(context)
    extra = {"ctx": ctx} if action.takes_context else {}
    try:
        return action.signature.bind(**args, **extra)
    except TypeError as error:
        raise StepError("ACTION_ARGUMENTS", f"{action.name}: {error}", retryable=False) from None


def _failure(action: Action, error: BaseException) -> StepError:
    """Returns `error` in the form that clients see. The stack trace goes to the service log."""
    if isinstance(error, StepError):
        return error
    _logger.error("action failed", exc_info=error, extra={"action": action.name})
    error_type = type(error).__name__
    message = f"{action.name} raised {error_type}: {_message_of(error)}"[:_MAX_MESSAGE]
    if isinstance(error, Exception):
        is_permanent = isinstance(error, PermanentError)
        return StepError("ACTION_FAILED", message, retryable=not is_permanent, details={"type": error_type})
    return StepError("ACTION_EXITED", message, details={"type": error_type})


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(the message is unavailable: str() of the exception failed)"
