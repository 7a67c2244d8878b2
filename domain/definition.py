"""The flow language: what a flow version consists of.

A definition is JSON. Everything under a step's `input`, its `when`, and the flow's `output` may hold templates over
`run.input`, `run.metadata` and `steps.<name>.output`. The JSON Schema of this language is served at
`/schemas/flow-definition.json`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from domain import json_schema
from domain.errors import DefinitionInvalidError, Problem

MAX_STEPS = 200
DAY = 86_400.0

StepName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="Unique in the flow; named in templates."),
]
Seconds = Annotated[float, Field(gt=0, le=30 * DAY, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", frozen=True, strict=True
    )


class RetryPolicy(_Model):
    """How often, and how soon, a failed step is tried again."""

    attempts: int = Field(default=3, ge=1, le=50, description="Tries in all, the first one included.")
    delay: float = Field(default=1.0, ge=0, le=DAY, description="Seconds before the second try.")
    factor: float = Field(default=2.0, ge=1, le=10, description="By which the delay grows from try to try.")
    max_delay: float = Field(default=300.0, ge=0, le=DAY, description="Seconds, the longest delay.")
    jitter: float = Field(default=0.2, ge=0, le=1, description="Share of each delay that is drawn at random.")

    def delay_after(self, attempt: int, draw: float) -> float:
        """Seconds to wait after the failure of try `attempt` (from 1); `draw` is a random number in [0, 1)."""
        delay: float = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        return delay * (1 - self.jitter * draw)


class _Step(_Model):
    name: StepName
    display_name: str | None = Field(default=None, max_length=200)
    when: str | None = Field(default=None, max_length=4_000, description="A template; false skips the step.")
    retry: RetryPolicy = RetryPolicy(attempts=1)
    timeout: Seconds | None = Field(default=None, description="Seconds that one try may take.")
    continue_on_failure: bool = Field(default=False, description="Whether the run goes on when the step failed.")

    @property
    def templates(self) -> dict[str, Any]:
        """What is rendered for the step, by its path below it."""
        return {"when": self.when, "input": getattr(self, "input", None)}


HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HTTP_METHODS: tuple[str, ...] = get_args(HttpMethod)


class HttpInput(_Model):
    """An HTTP request. Every string may be a template."""

    method: HttpMethod = "GET"
    url: str = Field(min_length=1, max_length=8_000)
    headers: dict[str, str] = {}
    query: dict[str, Any] = {}
    json_body: Any = Field(default=None, alias="json", description="The body, sent as JSON.")
    body: str | None = Field(default=None, description="The body, sent as it is.")
    fail_on_status: bool = Field(default=True, description="Whether a status of 400 or above fails the step.")
    follow_redirects: bool = True
    save_as: str | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="The name of a file of the run, in which the response's body is kept instead of in the output.",
    )


class HttpStep(_Step):
    """Calls a URL. The output is `{status, headers, body}`, a JSON body parsed; with `saveAs` `{…, file}`."""

    kind: Literal["http"]
    input: HttpInput


class PythonInput(_Model):
    """A call of a Python function that the operator registered."""

    action: str = Field(min_length=1, max_length=200, description="The name it was registered under.")
    args: dict[str, Any] = Field(default={}, description="Keyword arguments; may hold templates.")


class PythonStep(_Step):
    """Calls a registered Python function. The output is what it returns."""

    kind: Literal["python"]
    input: PythonInput


class TransformStep(_Step):
    """Builds its output, the rendered input, from what came before."""

    kind: Literal["transform"]
    input: Any


class DelayInput(_Model):
    """How long to wait: one of the two."""

    seconds: float | str | None = Field(default=None, alias="for", description="Seconds; a number or a template.")
    until: str | None = Field(default=None, description="An instant in ISO 8601; may be a template.")


class DelayStep(_Step):
    """Waits, without holding a worker. The output is `{until}`."""

    kind: Literal["delay"]
    input: DelayInput


class HumanInput(_Model):
    """A question to a person. Texts may be templates."""

    title: str = Field(min_length=1, max_length=1_000)
    description: str | None = Field(default=None, max_length=20_000)
    answer_schema: dict[str, Any] = Field(default={}, alias="schema", description="JSON Schema of the answer.")
    assignee: str | None = Field(default=None, max_length=1_000, description="Whom the question is for.")
    expires_in: Seconds | None = Field(default=None, description="Seconds after which no answer is taken.")
    on_expiry: Literal["fail", "default"] = Field(default="fail", description="What becomes of the step then.")
    default: Any = Field(default=None, description="The answer when none came in time.")


class HumanInputStep(_Step):
    """Asks a person, and pauses the run until the answer. The output is the answer."""

    kind: Literal["humanInput"]
    input: HumanInput


class FlowInput(_Model):
    """Runs of another flow, or of this one."""

    flow: str = Field(min_length=1, max_length=200, description="The flow's name, or its ID; may be a template.")
    input: Any = Field(default={}, description="The child's input; with `forEach` over `item` and `index` too.")
    for_each: Any = Field(default=None, description="A list, or a template of one: a child run for each item.")
    concurrency: int = Field(default=10, ge=1, le=100, description="Children that run at once.")
    wait: bool = Field(default=True, description="Whether the step waits for its children.")
    fail_parent_on_failure: bool = Field(default=True, description="Whether the step fails when a child does.")

    @property
    def is_loop(self) -> bool:
        """Whether there is a child for each item of a list."""
        return "for_each" in self.model_fields_set


class FlowStep(_Step):
    """Starts child runs. The output is the child's output; with `forEach` the list of them."""

    kind: Literal["flow"]
    input: FlowInput


Step = Annotated[
    HttpStep | PythonStep | TransformStep | DelayStep | HumanInputStep | FlowStep, Field(discriminator="kind")
]


class FlowDefinition(_Model):
    """What one version of a flow does: its steps, in order."""

    steps: list[Step] = Field(min_length=1, max_length=MAX_STEPS)
    input_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema that a run's input must fit.")
    timeout: Seconds | None = Field(default=None, description="Seconds that a run may take.")
    output: Any = Field(default=None, description="A template of the run's output; else the last step's output.")

    @property
    def has_output(self) -> bool:
        """Whether the definition says what the run's output is."""
        return "output" in self.model_fields_set

    def templates(self) -> Iterator[tuple[str, Any]]:
        """All that is rendered in a run, each with its path."""
        for index, step in enumerate(self.steps):
            for field, value in step.templates.items():
                yield f"steps[{index}].{field}", rendered_form(value)
        yield "output", self.output


def rendered_form(value: Any) -> Any:
    """`value` as plain JSON, as the author wrote it, ready to be rendered."""
    return value.model_dump(by_alias=True, exclude_unset=True) if isinstance(value, BaseModel) else value


def parse(document: Any) -> FlowDefinition:
    """The definition in `document`, a JSON value.

    Raises:
        DefinitionInvalidError: with every fault found, by its path.
    """
    try:
        definition = FlowDefinition.model_validate(document)
    except ValidationError as error:
        raise DefinitionInvalidError([_problem(fault) for fault in error.errors()]) from None
    faults = [*_doubled_names(definition), *_schema_faults(definition), *_delay_faults(definition)]
    if faults:
        raise DefinitionInvalidError(faults)
    return definition


def definition_schema() -> Mapping[str, Any]:
    """The JSON Schema of flow definitions."""
    return FlowDefinition.model_json_schema(by_alias=True)


def _problem(fault: ErrorDetails) -> Problem:
    location = list(fault["loc"])
    # pydantic names the union's member inside the path: steps, 2, "http", input, url.
    if len(location) > 2 and location[0] == "steps":
        del location[2]
    if fault["type"].startswith("union_tag"):
        location.append("kind")
    return Problem(json_schema.path_text(location), fault["msg"])


def _doubled_names(definition: FlowDefinition) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, step in enumerate(definition.steps):
        if first.setdefault(step.name, index) != index:
            yield Problem(f"steps[{index}].name", f"{step.name!r} is the name of steps[{first[step.name]}] already")


def _schema_faults(definition: FlowDefinition) -> Iterator[Problem]:
    schemas = {"inputSchema": definition.input_schema or {}}
    for index, step in enumerate(definition.steps):
        if isinstance(step, HumanInputStep):
            schemas[f"steps[{index}].input.schema"] = step.input.answer_schema
    for path, schema in schemas.items():
        try:
            json_schema.compile_schema(schema)
        except ValueError as error:
            yield Problem(path, f"Not a JSON Schema: {error}")


def _delay_faults(definition: FlowDefinition) -> Iterator[Problem]:
    for index, step in enumerate(definition.steps):
        if isinstance(step, DelayStep) and (step.input.seconds is None) is (step.input.until is None):
            yield Problem(f"steps[{index}].input", "Give `for` or `until`, one of the two")
