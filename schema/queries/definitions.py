"""The check of flow definitions before publication."""

import asyncio
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from domain.errors import DefinitionInvalidError
from engine.compiled_flow import check
from schema.errors import Problem
from schema.fields import field
from schema.types.step_definition import StepDefinition, step_definitions


@strawberry.type(description="The result that `publishFlowVersion` would have for a definition.")
class FlowDefinitionCheck:
    """The result that publication would have for a definition."""

    is_valid: bool = strawberry.field(description="True if the definition could be published.")
    problems: list[Problem] = strawberry.field(
        description="Problems that prevent the definition from being published, each with its path in the definition."
    )
    warnings: list[Problem] = strawberry.field(
        description="Parts that are allowed and probably mistakes, such as a credential in clear text; empty if "
        "there are problems."
    )
    steps: list[StepDefinition] = strawberry.field(
        description="The steps, in their order; empty if there are problems."
    )


@strawberry.type(description="The check of flow definitions.")
class DefinitionQuery:
    """The check of flow definitions, a part of the root type."""

    @field("Checks a flow definition as `publishFlowVersion` does, and publishes nothing.")
    async def validate_flow_definition(
        self,
        definition: Annotated[
            JSON,
            strawberry.argument(description="The definition. Its JSON Schema is at /schemas/flow-definition.json."),
        ],
    ) -> FlowDefinitionCheck:
        try:
            checked = await asyncio.to_thread(check, definition)
        except DefinitionInvalidError as error:
            problems = [Problem(path=problem.path, message=problem.message) for problem in error.problems]
            return FlowDefinitionCheck(is_valid=False, problems=problems, warnings=[], steps=[])
        warnings = [Problem(path=warning.path, message=warning.message) for warning in checked.warnings]
        return FlowDefinitionCheck(is_valid=True, problems=[], warnings=warnings, steps=step_definitions(checked.text))
