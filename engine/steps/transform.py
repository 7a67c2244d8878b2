"""Transform steps: an output built from earlier outputs."""

from typing import Any

from engine.steps.context import StepContext
from engine.steps.kind import StepKind


class TransformKind(StepKind):
    """The output is the rendered input."""

    name = "transform"
    description = "Builds its output from earlier outputs: the output is the rendered input."
    input_model = Any

    async def run(self, rendered: Any, context: StepContext, /) -> Any:
        """Returns `rendered`."""
        return rendered
