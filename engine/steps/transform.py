"""Transform steps."""

from typing import Any

from engine.steps.context import StepContext


class TransformRunner:
    """Runs the steps of kind `transform`: the output is the rendered input."""

    async def run(self, input: Any, context: StepContext) -> Any:  # noqa: A002 - the word of the flow language
        """`input`."""
        return input
