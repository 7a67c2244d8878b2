"""The kinds of steps: what each of them does when its turn has come."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from domain.json_codec import MAX_INPUT_BYTES
from engine.actions import ActionRegistry
from engine.steps.context import StepContext, StepRunner, ThreadContext
from engine.steps.http import HttpRunner
from engine.steps.network import GuardedBackend, GuardedTransport, anywhere, public_only
from engine.steps.python import PythonRunner
from engine.steps.transform import TransformRunner

__all__ = ["RunnerSettings", "Runners", "StepContext", "StepRunner", "ThreadContext", "runners"]


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """What the operator decides about steps."""

    http_allow_private: bool = False
    """Whether http steps may call loopback, private and link-local addresses."""
    max_response_bytes: int = MAX_INPUT_BYTES
    """Of the body of a response, decoded."""
    http_timeout: float = 30.0
    """Seconds for a whole call, where the step has no timeout of its own."""
    action_threads: int = 16
    """Plain Python actions that run at the same time."""
    actions: ActionRegistry = field(default_factory=ActionRegistry)
    """What python steps may call."""


class Runners(Mapping[str, StepRunner]):
    """The runner of each kind of step. Belongs to one event loop; to be closed."""

    def __init__(self, settings: RunnerSettings) -> None:
        rule = anywhere if settings.http_allow_private else public_only
        self._http = HttpRunner(
            GuardedTransport(GuardedBackend(rule)),
            max_response_bytes=settings.max_response_bytes,
            timeout=settings.http_timeout,
        )
        python = PythonRunner(settings.actions, threads=settings.action_threads, max_output_bytes=MAX_INPUT_BYTES)
        self._runners: dict[str, StepRunner] = {"http": self._http, "python": python, "transform": TransformRunner()}

    def __getitem__(self, kind: str) -> StepRunner:
        return self._runners[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runners)

    def __len__(self) -> int:
        return len(self._runners)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections. Actions still running in threads are left to themselves."""
        await self._http.aclose()


def runners(settings: RunnerSettings) -> Runners:
    """The runners, by kind of step."""
    return Runners(settings)
