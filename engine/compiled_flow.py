"""Flow versions, ready to be executed."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jsonschema_rs

from db import flows
from db.core.database import Database
from domain import definition, json_codec, json_schema
from domain.definition import FlowDefinition, FlowStep, Step
from domain.errors import DefinitionInvalidError, InputInvalidError, Problem
from engine import templates
from engine.templates import Template


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step with its templates compiled."""

    definition: Step
    when: Template | None
    input: Template
    each: Template | None = None
    """The input of a child run, rendered once for each."""


@dataclass(frozen=True, slots=True)
class CompiledFlow:
    """A flow version with its templates and its input schema compiled."""

    definition: FlowDefinition
    steps: tuple[CompiledStep, ...]
    output: Template | None
    input_schema: jsonschema_rs.Draft202012Validator | None

    def check_input(self, value: Any) -> None:
        """Make sure that `value` is an input for this flow.

        Raises:
            InputInvalidError: it does not fit `inputSchema`.
        """
        if self.input_schema and (faults := json_schema.problems(self.input_schema, value, "input")):
            raise InputInvalidError(faults)


@dataclass(frozen=True, slots=True)
class CheckedDefinition:
    """A flow definition that may be published."""

    text: str
    step_count: int


def check(document: Any) -> CheckedDefinition:
    """`document`, a flow definition from outside, as it is kept.

    Raises:
        DefinitionInvalidError: with every fault found, in its form or in its templates.
        InputTooLargeError: it is too large.
    """
    text = json_codec.encode(document, limit=json_codec.MAX_DEFINITION_BYTES, what="definition")
    parsed = definition.parse(document)
    if "\\u0000" in text:
        # Names go into columns of their own, and PostgreSQL's text cannot hold it.
        raise DefinitionInvalidError([Problem("", "The character U+0000 is not allowed")])
    faults = [fault for path, value in parsed.templates() for fault in templates.compile_problems(value, path)]
    if faults:
        raise DefinitionInvalidError(faults)
    return CheckedDefinition(text, len(parsed.steps))


def compile_flow(text: str) -> CompiledFlow:
    """The flow whose definition is `text`, which `check` found good."""
    parsed = definition.parse(json_codec.decode(text))
    schema = parsed.input_schema
    return CompiledFlow(
        parsed,
        tuple(_compile_step(step) for step in parsed.steps),
        templates.compile_value(parsed.output) if parsed.has_output else None,
        json_schema.compile_schema(schema) if schema is not None else None,
    )


def _compile_step(step: Step) -> CompiledStep:
    when = templates.compile_value(step.when) if step.when is not None else None
    form = definition.rendered_form(step.input)
    each = templates.compile_value(form.pop("input", {})) if isinstance(step, FlowStep) else None
    return CompiledStep(step, when, templates.compile_value(form), each)


class FlowCache:
    """Compiled flow versions, the most recently used ones. A version never changes, so nothing grows stale."""

    def __init__(self, database: Database, size: int = 512) -> None:
        self._database = database
        self._size = size
        self._flows: OrderedDict[UUID, CompiledFlow] = OrderedDict()

    async def get(self, version_id: UUID) -> CompiledFlow:
        """The compiled flow version `version_id`."""
        if (found := self._flows.get(version_id)) is not None:
            self._flows.move_to_end(version_id)
            return found
        text = await self._database.read(flows.definition, version_id)
        # A large definition takes seconds to compile, in which the event loop has better to do.
        found = await asyncio.to_thread(compile_flow, text)
        self._flows[version_id] = found
        while len(self._flows) > self._size:
            self._flows.popitem(last=False)
        return found
