"""The step kinds. To add one, write a module with a subclass of `StepKind` and list it in `KINDS`."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from domain.flows.definition import FlowLanguage
from engine.steps.context import StepContext, ThreadContext
from engine.steps.delay import DelayKind
from engine.steps.flow import FlowKind
from engine.steps.http import HttpKind
from engine.steps.human_input import HumanInputKind
from engine.steps.kind import Launch, Resumed, StepCall, StepKind, StepSettings, StillWaiting, Wait
from engine.steps.python import PythonKind
from engine.steps.transform import TransformKind

__all__ = [
    "KINDS",
    "Launch",
    "Resumed",
    "StepCall",
    "StepContext",
    "StepKind",
    "StepKinds",
    "StepSettings",
    "StillWaiting",
    "ThreadContext",
    "Wait",
]


class StepKinds(Mapping[str, type[StepKind]]):
    """A set of step kinds, by name, and the flow language that has these kinds."""

    def __init__(self, *kinds: type[StepKind]) -> None:
        """
        Raises:
            ValueError: two kinds have the same name.
        """
        self._kinds: dict[str, type[StepKind]] = {}
        for kind in kinds:
            if self._kinds.setdefault(kind.name, kind) is not kind:
                raise ValueError(f"Two step kinds are called {kind.name!r}.")
        self.language = FlowLanguage(kinds)

    def __getitem__(self, name: str) -> type[StepKind]:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    @asynccontextmanager
    async def open(self, settings: StepSettings) -> AsyncIterator[dict[str, StepKind]]:
        """Yields an instance of each kind, by name. The instances belong to the running event loop.

        Python actions that still run in threads at the end of the block are abandoned.
        """
        async with AsyncExitStack() as stack:
            opened = {name: kind(settings) for name, kind in self._kinds.items()}
            for kind in opened.values():
                stack.push_async_callback(kind.aclose)
            yield opened


KINDS = StepKinds(HttpKind, PythonKind, TransformKind, DelayKind, HumanInputKind, FlowKind)
"""The step kinds that flows may use."""
