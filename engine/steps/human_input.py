"""Human input steps: the run is suspended until a person has responded."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from db.row_types import InputRequestRow
from db.runs.claims import JournalRow
from db.runs.waits import input_requests
from domain import ids, json_codec
from domain.enums import InputRequestStatus
from domain.errors import FlowRunsError, InputInvalidError
from domain.flows.definition import LanguageModel, Seconds, Step, json_schema_problems
from domain.flows.json_defaults import CheckedSchema
from domain.flows.templated import Templated, has_template
from domain.problem import Problem
from domain.time import clock
from engine.errors import StepError
from engine.step_values import encode_input
from engine.steps.kind import Resumed, StepCall, StepKind, StillWaiting, Wait, invalid_input, validated_input

MAX_TITLE = 1_000
"""Largest number of characters of a rendered title or assignee. Longer ones are cut."""
MAX_DESCRIPTION = 20_000
"""Largest number of characters of a rendered description. Longer ones are cut."""


_TEXTS = {"title": MAX_TITLE, "description": MAX_DESCRIPTION, "assignee": MAX_TITLE}
"""The text fields with their largest lengths: rendered values are turned into text, and cut."""


class HumanInput(LanguageModel):
    """A question to a person. Every field may be a template, or hold templates."""

    title: str = Field(min_length=1, max_length=MAX_TITLE)
    description: str | None = Field(default=None, max_length=MAX_DESCRIPTION)
    answer_schema: Templated[dict[str, Any]] = Field(
        default={}, alias="schema", description="JSON Schema of the response."
    )
    assignee: str | None = Field(default=None, max_length=MAX_TITLE, description="The person who should respond.")
    expires_in: Templated[Seconds | None] = Field(
        default=None, description="Seconds until the request expires. Default: it does not expire."
    )
    on_expiry: Templated[Literal["fail", "default"]] = Field(
        default="fail", description="How the step ends when the request expires: it fails, or succeeds with `default`."
    )
    default: Any = Field(default=None, description="The output if the request expires and `onExpiry` is `default`.")


class HumanInputKind(StepKind):
    """Waits for the response to an input request."""

    name = "humanInput"
    description = "Asks a person and suspends the run until the response. The output is the response."
    input_model = HumanInput
    redactable: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def validate(cls, step_input: HumanInput, /) -> Iterator[Problem]:
        """Yields the problems of the schema, and of a default that does not match the schema or is never used."""
        has_default = "default" in step_input.model_fields_set
        uses_default = step_input.on_expiry == "default"
        if uses_default and not has_default:
            yield Problem("default", "Set the output of a request that expires: `onExpiry` is `default`")
        if has_default and step_input.on_expiry == "fail":
            yield Problem("default", "It is never used: set `onExpiry` to `default`")
        if uses_default and step_input.expires_in is None:
            yield Problem("expiresIn", "Set when the request expires: `onExpiry` is `default`")
        if has_template(step_input.answer_schema):
            return
        problems = list(json_schema_problems(step_input.answer_schema, "schema"))
        yield from problems
        if uses_default and has_default and not problems and not has_template(step_input.default):
            yield from _default_problems(step_input)

    async def wait(self, rendered: Any, call: StepCall, /) -> Wait:
        """Returns the wait for a response, with the input request to create.

        Raises:
            StepError: INPUT_INVALID, the rendered input is invalid, or has a default that does not match its schema;
                INPUT_TOO_LARGE, NUMBER_OUT_OF_RANGE, a text field has a value that cannot be turned into text.
        """
        step_input = _asked(rendered, call.step)
        created_at = clock.now()
        seconds = min(filter(None, (step_input.expires_in, call.step.timeout)), default=None)
        expires_at = created_at + timedelta(seconds=seconds) if seconds else None
        try:
            schema = json_codec.encode(step_input.answer_schema, limit=json_codec.MAX_DEFINITION_BYTES, what="schema")
        except FlowRunsError as error:
            raise invalid_input(f"The question is invalid: {error.message}") from None
        request = {
            "id": ids.new_uuid(),
            "run_id": call.run.id,
            "project_id": call.run.project_id,
            "flow_id": call.run.flow_id,
            "position": call.position,
            "step_name": call.step.name,
            "title": step_input.title,
            "description": step_input.description,
            "assignee": step_input.assignee,
            "answer_schema": schema,
            "created_at": created_at,
            "expires_at": expires_at,
        }
        return Wait(f"Waiting for a response: {step_input.title}", expires_at, request)

    async def resume(self, call: StepCall, paused: JournalRow, /) -> Resumed | StillWaiting:
        """Returns the response, or the default if the request has expired.

        Raises:
            StepError: INPUT_EXPIRED, the request has expired and there is no default; TIMEOUT, the step's timeout has
                passed before that.
        """
        while True:
            request = await call.database.read(input_requests.of_step, call.run.id, call.position)
            if request.status == InputRequestStatus.ANSWERED:
                return Resumed(json_codec.decode(request.answer))
            if request.expires_at is None or request.expires_at > clock.now():
                return StillWaiting("Still waiting for a response", request.expires_at)
            if request.status != InputRequestStatus.PENDING or await _expire(call, request):
                break
            # A response arrived between the read and the write: read it.
        step_input = _asked(json_codec.decode(paused.input), call.step)
        timeout = call.step.timeout
        if timeout is not None and timeout < (step_input.expires_in or math.inf):
            raise StepError("TIMEOUT", f"The step took longer than {timeout:g} seconds.")
        if step_input.on_expiry == "default":
            return Resumed(step_input.default)
        raise StepError("INPUT_EXPIRED", "No response was received before the input request expired.")


def _asked(rendered: dict[str, Any], step: Step) -> HumanInput:
    """Returns the question in a rendered input of `step`."""
    texts = {name: _text(rendered[name], length) for name, length in _TEXTS.items() if name in rendered}
    # A rendered title may be empty, and the question is asked all the same.
    texts["title"] = texts["title"] or step.display_name or step.name
    step_input = validated_input(HumanInput, {**rendered, **texts})
    problems = [*json_schema_problems(step_input.answer_schema, "schema")]
    if not problems and step_input.on_expiry == "default":
        problems = _default_problems(step_input)
    if problems:
        raise invalid_input(f"The question is invalid: {problems[0].path}: {problems[0].message}")
    return step_input


def _default_problems(step_input: HumanInput) -> list[Problem]:
    try:
        CheckedSchema(step_input.answer_schema).accept(step_input.default, "default")
    except InputInvalidError as error:
        return list(error.problems)
    return []


async def _expire(call: StepCall, request: InputRequestRow) -> bool:
    """Marks the request as expired. Returns False if a response arrived first."""
    return await call.database.write(input_requests.expire, request.id)


def _text(rendered: Any, length: int) -> str | None:
    if rendered is None:
        return None
    text = rendered if isinstance(rendered, str) else encode_input(rendered)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:length]
