"""Steps in the definition of a flow version."""

from typing import Any, cast

import strawberry
from strawberry.scalars import JSON

from domain import json_codec
from domain.flows.definition import RetryPolicy
from schema.fields import field


@strawberry.type(description="A step in the definition of a flow version, whether a run has reached it or not.")
class StepDefinition:
    """A step of a flow version."""

    document: strawberry.Private[dict[str, Any]]

    position: int = strawberry.field(description="The step's position in the definition, from 0.")

    @field("The name, unique in the flow. `FlowRun.step(name:)` returns its result in a run.")
    def name(self) -> str:
        return cast("str", self.document["name"])

    @field("The display name; null if it has none.")
    def display_name(self) -> str | None:
        return self.document.get("displayName")

    @field("The kind, such as `http` or `humanInput`.")
    def kind(self) -> str:
        return cast("str", self.document["kind"])

    @field("The condition of the step: if it is false, the step is skipped. Null if the step is always executed.")
    def when(self) -> JSON | None:
        return cast("JSON | None", self.document.get("when"))

    @field("The input, a template.")
    def input(self) -> JSON:
        return cast("JSON", self.document.get("input"))

    @field("Largest number of attempts, including the first one.")
    def max_attempts(self) -> int:
        retry = self.document.get("retry")
        return 1 if retry is None else RetryPolicy.model_validate(retry).attempts

    @field("The longest duration of one attempt, in seconds; null for no limit.")
    def timeout_seconds(self) -> float | None:
        return self.document.get("timeout")

    @field("True if the run continues when the step has failed.")
    def continue_on_failure(self) -> bool:
        return bool(self.document.get("continueOnFailure", False))


def step_definitions(definition: str) -> list[StepDefinition]:
    """Returns the steps in a definition, which is JSON text, in their order."""
    steps = json_codec.decode(definition)["steps"]
    return [StepDefinition(document=step, position=position) for position, step in enumerate(steps)]
