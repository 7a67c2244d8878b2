"""Calls of the operator's Python functions, which may block, exit, raise or return anything."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic import ValidationError

from domain import json_codec
from domain.definition import PythonInput
from domain.errors import InputTooLargeError, InvalidArgumentError
from domain.json_schema import path_text
from engine.actions import Action, ActionRegistry, PermanentError
from engine.errors import StepError
from engine.steps.context import StepContext, ThreadContext
from engine.steps.threads import BlockingCalls

_logger = logging.getLogger("engine.step")
_MAX_MESSAGE = 2_000

_Result: TypeAlias = str | StepError
"""JSON text, or why there is none. Handed over rather than raised: some exceptions would stop the event loop."""


class PythonRunner:
    """Runs the steps of kind `python`. The output is what the action returns, as JSON."""

    def __init__(self, actions: ActionRegistry, *, threads: int, max_output_bytes: int) -> None:
        self._actions = actions
        self._max_output_bytes = max_output_bytes
        self._blocking = BlockingCalls(threads)

    async def run(self, input: Any, context: StepContext) -> Any:  # noqa: A002 - the word of the flow language
        """What the action returns that `input`, a rendered `PythonInput`, names.

        Raises:
            StepError: INPUT_INVALID, ACTION_UNKNOWN, ACTION_ARGUMENTS, ACTION_FAILED, ACTION_EXITED, OUTPUT_NOT_JSON,
                OUTPUT_TOO_LARGE, WORKER_BUSY, or one that the action raised itself.
        """
        wanted = _validated(input)
        action = self._actions.get(wanted.action)
        if action is None:
            raise StepError("ACTION_UNKNOWN", f"There is no action {wanted.action!r} here.", retryable=False)
        arguments = _bound(action, wanted.args, context)
        if action.is_coroutine:
            result = await self._on_loop(action, arguments)
        else:
            result = await self._blocking.run(lambda: self._in_thread(action, arguments))
        if isinstance(result, StepError):
            raise result
        return json_codec.decode(result)

    def _in_thread(self, action: Action, arguments: inspect.BoundArguments) -> _Result:
        try:
            return self._encoded(action.function(*arguments.args, **arguments.kwargs))
        except BaseException as error:
            return _failure(action, error)

    async def _on_loop(self, action: Action, arguments: inspect.BoundArguments) -> _Result:
        try:
            return self._encoded(await action.function(*arguments.args, **arguments.kwargs))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failure(action, error)
        except BaseException as error:
            return _failure(action, error)

    def _encoded(self, value: Any) -> str:
        try:
            return json_codec.encode(value, limit=self._max_output_bytes, what="result of the action")
        except InputTooLargeError as error:
            raise StepError("OUTPUT_TOO_LARGE", error.message, retryable=False) from None
        except InvalidArgumentError as error:
            raise StepError("OUTPUT_NOT_JSON", error.message, retryable=False) from None


def _validated(rendered: Any) -> PythonInput:
    try:
        # A copy: the rendered input shares parts with the outputs of other steps, and actions change what they get.
        copied = json_codec.decode(json_codec.encode(rendered, limit=json_codec.MAX_INPUT_BYTES, what="input"))
        return PythonInput.model_validate(copied)
    except (InputTooLargeError, InvalidArgumentError) as error:
        raise StepError("INPUT_INVALID", error.message, retryable=False) from None
    except ValidationError as error:
        faults = (f"{path_text(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_url=False)[:5])
        message = f"The input of the action is not valid: {'; '.join(faults)}"
        raise StepError("INPUT_INVALID", message, retryable=False) from None


def _bound(action: Action, args: dict[str, Any], context: StepContext) -> inspect.BoundArguments:
    """The arguments of the call."""
    if action.wants_context and "ctx" in args:
        raise StepError("ACTION_ARGUMENTS", f"{action.name}: 'ctx' is not for flows to give.", retryable=False)
    given = context if action.is_coroutine else ThreadContext.of(context)
    extra = {"ctx": given} if action.wants_context else {}
    try:
        return action.signature.bind(**args, **extra)
    except TypeError as error:
        raise StepError("ACTION_ARGUMENTS", f"{action.name}: {error}", retryable=False) from None


def _failure(action: Action, error: BaseException) -> StepError:
    """`error` as clients see it: without the stack trace, which goes to the service's log."""
    if isinstance(error, StepError):
        return error
    _logger.error("The action %s failed", action.name, exc_info=error)
    kind = type(error).__name__
    message = f"{action.name} raised {kind}: {_text(lambda: str(error))}"[:_MAX_MESSAGE]
    if isinstance(error, Exception):
        permanent = isinstance(error, PermanentError)
        return StepError("ACTION_FAILED", message, retryable=not permanent, details={"type": kind})
    return StepError("ACTION_EXITED", message, details={"type": kind})


def _text(describe: Callable[[], str]) -> str:
    try:
        return describe()
    except Exception:
        return "(its message cannot be shown)"
