"""A step kind is one plug: it declares the syntax of its steps, and executes them.

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
from domain.flows.definition import LanguageModel, Step
from domain.flows.templated import RENDERED
from domain.json_codec import MAX_INPUT_BYTES
from domain.problem import Problem
from engine.actions import ActionRegistry
from engine.errors import StepError, validation_message
from engine.secrets.run_secrets import RunSecrets
from engine.steps.context import StepContext
from engine.templates import Template

_MAX_MESSAGE = 1_000
"""Largest number of characters of the message of an invalid input, which may quote values."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """Settings of steps, which the operator decides."""

    http_allow_private: bool = False
    """True: http steps may call loopback, private and link-local addresses."""
    http_use_proxies: bool = False
    """True: http steps use the proxies that the environment names."""
    max_response_bytes: int = MAX_INPUT_BYTES
    """Largest decoded body of a response, in bytes."""
    http_timeout: float = 30.0
    """Longest duration of a call, in seconds, for steps without a timeout of their own."""
    action_threads: int = 16
    """Largest number of plain Python actions that run at the same time."""
    actions: ActionRegistry = field(default_factory=ActionRegistry)
    """The functions that python steps may call."""


class InputChecker(Protocol):
    """The part of a published flow version that steps need."""

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
    """The variables of templates."""
    deferred: Mapping[str, Template]
    """Templates of the step's `deferred_fields`, for the fields that the step has."""
    secrets: RunSecrets
    """Resolves the references to secrets in rendered deferred fields."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Suspends the run until `due_at`, or until something else makes it due before that."""

    message: str
    """The message in the run's status history."""
    due_at: datetime | None = None
    """The instant at which a worker resumes the run at the latest; None: only a wake-up resumes it."""
    request: Mapping[str, Any] | None = None
    """An input request to create: a row of `input_request`."""
    children: ChildBatch | None = None
    """Child runs to create. Their end wakes the run."""
    journal_input: Any = None
    """The step's input in the journal; None: the rendered input."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Creates child runs without waiting for them. The step succeeds with their IDs as its output."""

    children: ChildBatch
    journal_input: Any = None
    """The step's input in the journal; None: the rendered input."""


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """Suspends the run again, because a worker resumed it before the wait was over."""

    message: str
    """The message in the run's status history."""
    due_at: datetime | None = None
    """The instant at which a worker resumes the run at the latest; None: only a wake-up resumes it."""
    for_children: bool = False
    """True if the step waits for child runs: the end of the last one wakes the run."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The end of a wait: the step has succeeded."""

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
    """The parts that steps can redact. A kind cannot redact its input if it reads the input again when it resumes."""
    deferred_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of the input that the kind renders itself, with a scope of its own."""

    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of the input in which templates may refer to secrets. `run` gets the values, `wait` and the journal get
    placeholders."""
    url_fields: ClassVar[tuple[str, ...]] = ()
    """Keys of the input that are URLs: template values in a URL are percent-encoded."""

    def __init__(self, settings: StepSettings) -> None:  # noqa: B027 - kinds without resources need none
        """Opens the resources that the kind needs in a worker. Called on the worker's event loop."""

    @classmethod
    def validate(cls, step_input: Any, /) -> Iterable[Problem]:
        """Returns the problems that `input_model` cannot express. Their paths are relative to the input."""
        return ()

    @classmethod
    def validate_new(cls, step_input: Any, /) -> Iterable[Problem]:
        """Returns problems that refuse only new versions: versions that were published before remain valid."""
        return ()

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait | Launch | None:
        """Returns the wait of the step; None if it does not wait, so that `run` is called.

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
        """Returns the output if the wait is over, or else the rest of the wait.

        `paused` is the step's row in the journal.

        Raises:
            StepError: the attempt failed.
        """
        raise NotImplementedError(f"Steps of kind {self.name} do not wait.")

    async def aclose(self) -> None:
        """Releases the resources of the instance."""
        return
