"""The flow language: the JSON documents that define the steps of a flow version.

Strings under a step's `input` and the flow's `output` may hold templates over `run.input`, `run.metadata` and
`steps.<name>.output`; a step's `when` is one expression over the same values. Each step kind declares the `input` of
its steps (`StepSyntax`); a `FlowLanguage` is the language with a given set of kinds.
"""

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Protocol, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, create_model
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, ErrorDetails

from domain.errors import DefinitionInvalidError
from domain.flows import json_defaults, json_schema
from domain.problem import Problem

MAX_STEPS = 200
"""Largest number of steps in one flow."""
MAX_RUN_DEPTH = 10
"""Largest number of ancestors of a run. The limit ends flows that start each other in a circle."""
DAY = 86_400.0
"""Seconds in a day."""


class _OneMessage:
    """Gives a union one message for a value that matches none of its types."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        message = "Input should be a boolean, or a string of at most 4,000 characters"
        return cast("CoreSchema", {**handler(source), "custom_error_type": self._name, "custom_error_message": message})


StepName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="Unique in the flow. Templates refer to the step by this name.",
    ),
]
Condition = Annotated[bool | Annotated[str, Field(max_length=4_000)], _OneMessage("condition")]
RedactedPath = Annotated[str, Field(pattern=r"^(input|output)(\.[^.]{1,200}){0,20}$", max_length=1_000)]
MAX_REDACTED = 50
"""Largest number of paths that one step redacts."""
Seconds = Annotated[float, Field(gt=0, le=30 * DAY, allow_inf_nan=False)]


class LanguageModel(BaseModel):
    """Base of every object in a flow definition: camelCase keys, no unknown keys, no type coercion."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", frozen=True, strict=True
    )


class RetryPolicy(LanguageModel):
    """Rules for new attempts at a failed step: how many, and after which delay."""

    attempts: int = Field(default=3, ge=1, le=50, description="Attempts in total, including the first one.")
    delay: float = Field(default=1.0, ge=0, le=DAY, description="Seconds before the second attempt.")
    factor: float = Field(default=2.0, ge=1, le=10, description="The delay is multiplied by this for each attempt.")
    max_delay: float = Field(default=300.0, ge=0, le=DAY, description="Longest delay, in seconds.")
    jitter: float = Field(default=0.2, ge=0, le=1, description="Share of each delay that is random, from 0 to 1.")

    def delay_after(self, attempt: int, random_share: float) -> float:
        """Returns the seconds to wait after attempt `attempt` (from 1) failed; `random_share` is in [0, 1)."""
        delay: float = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        return delay * (1 - self.jitter * random_share)


class Step(LanguageModel):
    """One step of a flow. Each kind of step has a subclass with its own `kind` and `input`."""

    name: StepName
    display_name: str | None = Field(default=None, max_length=200)
    when: Condition | None = Field(
        default=None,
        description="A boolean, or an expression of one, with or without `{{ }}`. If it is false or null, the step "
        "is skipped.",
    )
    retry: RetryPolicy = RetryPolicy(attempts=1)
    timeout: Seconds | None = Field(
        default=None,
        description="Longest duration of one attempt, in seconds. When a step that waits times out, its child runs are"
        " cancelled and its input request expires.",
    )
    idempotency_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=4_000,
        description="A template of the idempotency key that http and python steps send. Default: `run.firstRunId` and"
        " the name of the step, the same for all attempts and for retries from the failed step.",
    )
    continue_on_failure: bool = Field(
        default=False, description="True: the run continues when the step has failed. False: the run fails."
    )
    redact: list[RedactedPath] = Field(
        default=[],
        max_length=MAX_REDACTED,
        description="Paths in the step's input and output that clients cannot read, such as "
        "`input.headers.x-api-key` or `output.body.token`; `*` stands for every key or element. Later "
        "steps still get the redacted values.",
    )
    kind: str
    input: Any


class FlowDefinition(LanguageModel):
    """The definition of a flow version: its steps, in order."""

    steps: list[Step]
    input_schema: dict[str, Any] | None = Field(
        default=None, description="JSON Schema that the input of each run must match."
    )
    timeout: Seconds | None = Field(default=None, description="Longest duration of a run, in seconds.")
    output: Any = Field(default=None, description="Template of the run's output. Default: the output of the last step.")
    summary: str | None = Field(
        default=None,
        min_length=1,
        description="Template of one line that says what a run is about, for lists of runs. It is rendered when the run"
        " starts, over `run` alone.",
    )

    @property
    def has_output(self) -> bool:
        """True if the definition sets the run's output."""
        return "output" in self.model_fields_set

    def templates(self) -> Iterator[tuple[str, Any]]:
        """Yields every value with templates, except conditions, with its path in the definition."""
        for index, step in enumerate(self.steps):
            yield f"steps[{index}].idempotencyKey", step.idempotency_key
            yield f"steps[{index}].input", to_json_value(step.input)
        yield "output", self.output


class StepSyntax(Protocol):
    """The part of a step kind that the language knows. The class of a step kind is the match of this protocol, not an
    instance."""

    name: str
    """The value of a step's `kind`."""
    description: str
    """What steps of this kind do and what their output is. Part of the JSON Schema of the language."""
    input_model: Any
    """The type of a step's `input`."""
    sends_idempotency_key: bool
    """True if steps of this kind use the field `idempotencyKey`."""
    redactable: frozenset[str]
    """What steps of this kind can redact: `input`, `output`."""

    def validate(self, step_input: Any, /) -> Iterable[Problem]:
        """Returns the problems that the type cannot express. Their paths are relative to the input."""
        ...


class FlowLanguage:
    """The flow language with a set of step kinds. It validates documents, and describes itself as JSON Schema."""

    def __init__(self, kinds: Iterable[StepSyntax]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        steps: Any = functools.reduce(operator.or_, (_step_model(kind) for kind in self._kinds.values()))
        self._model = create_model(
            FlowDefinition.__name__,
            __base__=FlowDefinition,
            __doc__=FlowDefinition.__doc__,
            steps=(
                list[Annotated[steps, Field(discriminator="kind")]],
                Field(min_length=1, max_length=MAX_STEPS),
            ),
        )

    def load(self, document: Any) -> FlowDefinition:
        """Returns the definition in `document`, a JSON value that has been published.

        A published document may have problems that today's `parse` reports.

        Raises:
            DefinitionInvalidError: `document` does not have the form of a definition.
        """
        try:
            return self._model.model_validate(document)
        except ValidationError as error:
            raise DefinitionInvalidError([_problem(details) for details in error.errors()]) from None

    def parse(self, document: Any) -> FlowDefinition:
        """Returns the definition in `document`, a JSON value.

        Raises:
            DefinitionInvalidError: `document` is invalid. The error lists every problem with its path.
        """
        definition = self.load(document)
        if problems := [*_duplicate_names(definition), *_schema_problems(definition), *self._step_problems(definition)]:
            raise DefinitionInvalidError(problems)
        return definition

    def json_schema(self) -> Mapping[str, Any]:
        """Returns the JSON Schema of flow definitions."""
        return self._model.model_json_schema(by_alias=True)

    def _step_problems(self, definition: FlowDefinition) -> Iterator[Problem]:
        for index, step in enumerate(definition.steps):
            if step.idempotency_key is not None and not self._kinds[step.kind].sends_idempotency_key:
                yield Problem(f"steps[{index}].idempotencyKey", f"Steps of kind {step.kind} send no idempotency key")
            for number, path in enumerate(step.redact):
                if (root := path.partition(".")[0]) not in self._kinds[step.kind].redactable:
                    yield Problem(
                        f"steps[{index}].redact[{number}]", f"The {root} of {step.kind} steps is not redacted"
                    )
            for problem in self._kinds[step.kind].validate(step.input):
                path = f"steps[{index}].input.{problem.path}".removesuffix(".")
                yield Problem(path, problem.message)


def to_json_value(step_input: Any) -> Any:
    """Returns a step's input as the JSON value in the definition, ready to be rendered."""
    if isinstance(step_input, BaseModel):
        # Without warnings: a template may stand in the place of a value of another type.
        return step_input.model_dump(by_alias=True, exclude_unset=True, warnings=False)
    return step_input


def _step_model(kind: StepSyntax) -> Any:
    tag: Any = Literal[kind.name]
    return create_model(
        f"{kind.name[0].upper()}{kind.name[1:]}Step",
        __base__=Step,
        __doc__=kind.description,
        kind=(tag, ...),
        input=(kind.input_model, ...),
    )


def _problem(details: ErrorDetails) -> Problem:
    location = list(details["loc"])
    # pydantic puts the union's tag into the path: steps, 2, "http", input, url.
    if len(location) > 2 and location[0] == "steps":
        del location[2]
    if details["type"].startswith("union_tag"):
        location.append("kind")
    return Problem(json_schema.path_text(location), details["msg"])


def _duplicate_names(definition: FlowDefinition) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, step in enumerate(definition.steps):
        if first.setdefault(step.name, index) != index:
            message = f"The name {step.name!r} is already used by steps[{first[step.name]}]"
            yield Problem(f"steps[{index}].name", message)


def _schema_problems(definition: FlowDefinition) -> Iterator[Problem]:
    if definition.input_schema is not None:
        yield from json_schema_problems(definition.input_schema, "inputSchema")


def json_schema_problems(schema: Any, path: str) -> Iterator[Problem]:
    """Yields the problems of `schema`, found at `path`: it is not a JSON Schema, or it has defaults that do not match
    it."""
    try:
        json_schema.compile_schema(schema)
    except ValueError as error:
        yield Problem(path, f"Not a JSON Schema: {error}")
        return
    yield from json_defaults.default_problems(schema, path)


def unchanged_steps(old: str, new: str) -> int:
    """Returns the number of leading steps that are equal in two definitions, given as JSON texts."""
    pairs = zip(orjson.loads(old).get("steps", ()), orjson.loads(new).get("steps", ()), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: _is_same(*pair), pairs))


def _is_same(one: Any, other: Any) -> bool:
    """Compares JSON values as PostgreSQL does: true differs from 1, and the order of an object's keys does not
    count."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)
