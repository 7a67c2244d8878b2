"""A step kind is one plug: the syntax of its steps, and what the engine does with them.

A kind is a subclass of `StepKind` in a module of its own, listed in `engine.steps.KINDS`. The class declares the
syntax; an instance, of which each worker has one, executes steps. A *working* kind implements `run`. A *waiting* kind
implements `wait` and `resume`: its run is suspended in between and holds no worker.
"""

from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID

from pydantic import ValidationError

from db.core.database import Database
from db.row_types import RunRow
from db.runs.children import ChildBatch
from db.runs.claims import JournalRow
from domain.definition import LanguageModel, Step
from domain.errors import Problem
from domain.json_codec import MAX_INPUT_BYTES
from domain.templated import RENDERED
from engine.actions import ActionRegistry
from engine.errors import StepError, validation_message
from engine.secrets.run_secrets import RunSecrets
from engine.steps.context import StepContext
from engine.templates import Template

_MAX_MESSAGE = 1_000
"""Characters of the message of an invalid input, which may quote values."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What the operator decides about steps."""

    http_allow_private: bool = False
    """Whether http steps may call loopback, private and link-local addresses."""
    http_use_proxies: bool = False
    """Whether http steps use the proxies that the environment names."""
    max_response_bytes: int = MAX_INPUT_BYTES
    """Largest decoded body of a response, in bytes."""
    http_timeout: float = 30.0
    """Longest duration of a call, in seconds, for steps without a timeout of their own."""
    action_threads: int = 16
    """Plain Python actions that run at the same time."""
    actions: ActionRegistry = field(default_factory=ActionRegistry)
    """The functions that python steps may call."""


class InputChecker(Protocol):
    """A published flow version, as far as steps need it."""

    def accept_input(self, value: Any) -> Any:
        """Returns `value` as the input of a run: with the defaults of the flow's `inputSchema`.

        Raises:
            InputInvalidError: the input does not match `inputSchema`.
        """
        ...

    def with_defaults(self, value: Any) -> Any:
        """Returns `value` with the defaults of the flow's `inputSchema`, unchecked.

        Raises:
            InputInvalidError: a default contains itself.
        """
        ...


class FlowVersions(Protocol):
    """Finds flow versions."""

    async def get(self, version_id: UUID) -> InputChecker:
        """Returns the flow version `version_id`."""
        ...


@dataclass(frozen=True, slots=True)
class StepCall:
    """An attempt at a step of a waiting kind."""

    database: Database
    flows: FlowVersions
    run: RunRow
    """The claimed run."""
    position: int
    """Position of the step in the flow, from 0."""
    attempt: int
    """Number of the attempt, from 1."""
    step: Step
    scope: Mapping[str, Any]
    """What templates may refer to."""
    deferred: Mapping[str, Template]
    """Templates of the step's `deferred_fields`, as far as the step has these fields."""
    secrets: RunSecrets
    """What deferred fields rendered to references to secrets is resolved by."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The run is suspended until `due_at`, or until something else makes it due before that."""

    message: str
    """What the run's status history says."""
    due_at: datetime | None = None
    """When a worker resumes the run at the latest; None: when it is woken."""
    request: Mapping[str, Any] | None = None
    """An input request to create: a row of `input_request`."""
    children: ChildBatch | None = None
    """Child runs to create, whose end wakes the run."""
    journal_input: Any = None
    """What the journal keeps as the step's input; None: the rendered input."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Child runs to create without waiting for them. The step succeeds with their IDs as its output."""

    children: ChildBatch
    journal_input: Any = None
    """What the journal keeps as the step's input; None: the rendered input."""


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """A worker has looked at the run before the wait was over: the run is suspended again."""

    message: str
    """What the run's status history says."""
    due_at: datetime | None = None
    """When a worker resumes the run at the latest; None: when it is woken."""
    for_children: bool = False
    """True if the step waits for child runs: the end of the last one wakes the run."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The wait is over, and the step has succeeded."""

    output: Any


M = TypeVar("M", bound=LanguageModel)


def validated_input(model: type[M], rendered: Any) -> M:
    """Returns a rendered input as a `model`.

    Raises:
        StepError: INPUT_INVALID.
    """
    try:
        return model.model_validate(rendered, context=RENDERED)
    except ValidationError as error:
        raise invalid_input(f"The input of the step is invalid: {validation_message(error)}") from None


def invalid_input(message: str) -> StepError:
    """Returns the error of a rendered input that cannot be used."""
    return StepError("INPUT_INVALID", message[:_MAX_MESSAGE], retryable=False)


class StepKind(ABC):
    """A kind of step. Override `run`, or `wait` and `resume`."""

    name: ClassVar[str]
    """The value of a step's `kind`."""
    description: ClassVar[str]
    """What steps of this kind do and what their output is. Part of the JSON Schema of the flow language."""
    input_model: ClassVar[Any]
    """The type of a step's `input`: a `LanguageModel`, or any type that pydantic can validate."""
    sends_idempotency_key: ClassVar[bool] = False
    """True if steps may set `idempotencyKey`, because the kind passes `StepContext.idempotency_key` on."""
    redactable: ClassVar[frozenset[str]] = frozenset({"input", "output"})
    """What steps can redact. The input of a kind that reads it again, when it resumes, cannot be redacted."""
    deferred_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of the input that are not rendered with the others: the kind renders them itself, with a scope of its own.
    """

    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of the input in which templates may refer to secrets. `run` gets the values, `wait` and the journal get
    placeholders."""
    url_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of the input that are URLs: values that a template puts into one are percent-encoded."""

    def __init__(self, settings: StepSettings) -> None:  # noqa: B027 - kinds without resources need none
        """Open what the kind needs in a worker. Called on the worker's event loop."""

    @classmethod
    def validate(cls, step_input: Any, /) -> Iterable[Problem]:
        """Returns the problems that `input_model` cannot express. Their paths are relative to the input."""
        return ()

    @classmethod
    def validate_new(cls, step_input: Any, /) -> Iterable[Problem]:
        """Returns the problems that refuse a new version alone: versions that were published before go on working."""
        return ()

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait | Launch | None:
        """Returns what the step waits for; None: nothing, so `run` is called.

        Raises:
            StepError: the rendered input cannot be used.
        """
        return None

    async def run(self, rendered: Any, context: StepContext, /) -> Any:
        """Execute one attempt with the rendered input; returns the output, a JSON value.

        Raises:
            StepError: the attempt failed.
        """
        raise NotImplementedError(f"Steps of kind {self.name} do not run.")

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        """Returns the output if the wait is over, or else what the step still waits for.

        `paused` is the step's row in the journal.

        Raises:
            StepError: the attempt failed.
        """
        raise NotImplementedError(f"Steps of kind {self.name} do not wait.")

    async def aclose(self) -> None:
        """Release what the instance has opened."""
        return
