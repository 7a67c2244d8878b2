"""Flow versions with their templates and schemas compiled, ready to be executed."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from db import flows
from db.core.database import Database
from domain import json_codec
from domain.errors import DefinitionInvalidError
from domain.flows.definition import FlowDefinition, Step, to_json_value
from domain.flows.json_defaults import CheckedSchema
from domain.problem import Problem
from engine import templates
from engine.secrets.literals import credential_warnings
from engine.secrets.redaction import Redaction
from engine.steps import KINDS, StepKind, StepKinds
from engine.templates import Template

SUMMARY_NAMES = frozenset({"run"})
"""Variables of the template of a summary, which is rendered before the first step."""


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step with compiled templates."""

    definition: Step
    when: Template | None
    input: Template
    idempotency_key: Template | None
    deferred: Mapping[str, Template]
    """Fields of the input that the step kind renders itself (`StepKind.deferred_fields`)."""
    redacted_input: Redaction
    redacted_output: Redaction


@dataclass(frozen=True, slots=True)
class CompiledFlow:
    """A flow version with compiled templates and a compiled input schema."""

    definition: FlowDefinition
    steps: tuple[CompiledStep, ...]
    output: Template | None
    summary: Template | None
    input_schema: CheckedSchema | None

    def accept_input(self, value: Any) -> Any:
        """Returns `value` as the input of a run: with the defaults of `inputSchema`.

        Raises:
            InputInvalidError: the input does not match `inputSchema`.
        """
        return value if self.input_schema is None else self.input_schema.accept(value, "input")

    def with_defaults(self, value: Any) -> Any:
        """Returns `value` with the defaults of `inputSchema`, unchecked.

        Raises:
            InputInvalidError: a default contains itself.
        """
        return value if self.input_schema is None else self.input_schema.fill(value, "input")


@dataclass(frozen=True, slots=True)
class CheckedDefinition:
    """A valid flow definition."""

    text: str
    """The definition as JSON text."""
    step_count: int
    warnings: Sequence[Problem] = ()
    """Parts that are allowed, and are probably mistakes."""


def check(document: Any, kinds: StepKinds = KINDS) -> CheckedDefinition:
    """Returns a flow definition from outside of the service, in the form in which it is stored.

    Raises:
        DefinitionInvalidError: `document` is invalid. The error lists every problem of its form or of its templates.
        InputTooLargeError: `document` is too large.
    """
    text = json_codec.encode(document, limit=json_codec.MAX_DEFINITION_BYTES, what="definition")
    definition = kinds.language.parse(document)
    if json_codec.has_nul(text):
        # Names have columns of their own, and PostgreSQL cannot store this character in text.
        raise DefinitionInvalidError([Problem("", "The character U+0000 is not allowed")])
    secret_fields = {
        f"steps[{index}].input": kinds[step.kind].secret_fields for index, step in enumerate(definition.steps)
    }
    problems = [
        problem
        for index, step in enumerate(definition.steps)
        for problem in templates.condition_problems(step.when, f"steps[{index}].when")
    ]
    for path, value in definition.templates():
        problems += templates.compile_problems(value, path, secret_fields=secret_fields.get(path, ()))
    for index, step in enumerate(definition.steps):
        problems += [
            Problem(f"steps[{index}].input.{problem.path}", problem.message)
            for problem in kinds[step.kind].validate_new(step.input)
        ]
    problems += templates.compile_problems(definition.summary, "summary", SUMMARY_NAMES)
    if problems:
        raise DefinitionInvalidError(problems)
    return CheckedDefinition(text, len(definition.steps), credential_warnings(definition))


def compile_flow(text: str, kinds: StepKinds = KINDS) -> CompiledFlow:
    """Returns the flow with the definition `text`, which `check` has accepted."""
    definition = kinds.language.load(json_codec.decode(text))
    schema = definition.input_schema
    return CompiledFlow(
        definition,
        tuple(_compile_step(step, kinds[step.kind]) for step in definition.steps),
        templates.compile_value(definition.output) if definition.has_output else None,
        None if definition.summary is None else templates.compile_value(definition.summary, names=SUMMARY_NAMES),
        CheckedSchema(schema) if schema is not None else None,
    )


def _compile_step(step: Step, kind: type[StepKind]) -> CompiledStep:
    when = templates.compile_condition(step.when) if step.when is not None else None
    value = to_json_value(step.input)
    deferred = {name: templates.compile_value(value.pop(name)) for name in kind.deferred_fields if name in value}
    redactions = (Redaction(step.redact, "input"), Redaction(step.redact, "output"))
    key = templates.compile_value(step.idempotency_key) if step.idempotency_key is not None else None
    return CompiledStep(step, when, templates.compile_value(value, kind.url_fields), key, deferred, *redactions)


class FlowCache:
    """The most recently used flow versions, compiled. A version never changes, so entries never become stale."""

    def __init__(self, database: Database, size: int = 512, kinds: StepKinds = KINDS) -> None:
        self._database = database
        self._size = size
        self._kinds = kinds
        self._flows: OrderedDict[UUID, CompiledFlow] = OrderedDict()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def get(self, version_id: UUID) -> CompiledFlow:
        """Returns the compiled flow version `version_id`."""
        if (cached := self._cached(version_id)) is not None:
            return cached
        # Of the runs that are claimed together, one compiles for all.
        async with self._locks.setdefault(version_id, asyncio.Lock()):
            return self._cached(version_id) or await self._compiled(version_id)

    def _cached(self, version_id: UUID) -> CompiledFlow | None:
        flow = self._flows.get(version_id)
        if flow is not None:
            self._flows.move_to_end(version_id)
        return flow

    async def _compiled(self, version_id: UUID) -> CompiledFlow:
        text = await self._database.read(flows.definition, version_id)
        # A large definition takes seconds to compile, which must not block the event loop.
        flow = await asyncio.to_thread(compile_flow, text, self._kinds)
        self._flows[version_id] = flow
        while len(self._flows) > self._size:
            self._flows.popitem(last=False)
        return flow
