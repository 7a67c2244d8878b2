"""The comparison of two runs."""

import asyncio
from itertools import islice
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from db.row_types import RunRow
from domain import json_codec
from domain.runs.json_difference import MISSING, differences
from domain.runs.json_difference import JsonDifference as Difference
from resolvers.comparison import steps
from resolvers.comparison.steps import StepPair
from resolvers.flow_runs.stats import checked_size
from schema.arguments import argument
from schema.enums import JsonDifferenceKind
from schema.fields import Info, columns_of, field, selects
from schema.scalars import BigInt
from schema.types.flow_run import FlowRun, StepResult

DEFAULT_DIFFERENCES = 100
"""Number of differences, unless the client gives `first`."""
MAX_DIFFERENCES = 1_000
"""Largest number of differences of two documents in one response."""

First = Annotated[int, argument(f"The number of differences, 1 to {MAX_DIFFERENCES:,}.")]


@strawberry.type(description="A place at which two JSON documents differ.")
class JsonDifference:
    """A place at which two JSON documents differ."""

    path: str = strawberry.field(
        description="The JSON Pointer (RFC 6901) of the place, such as `/items/0/name`; empty for the whole document."
    )
    kind: JsonDifferenceKind = strawberry.field(description="How the documents differ there.")
    a: JSON | None = strawberry.field(description="The value in run `a`; null if it has none there.")
    b: JSON | None = strawberry.field(description="The value in run `b`; null if it has none there.")


@strawberry.type(
    description="The differences of two JSON documents. Objects are compared by key and lists by index, down to the"
    " values that differ."
)
class JsonDifferences:
    """The differences of two JSON documents."""

    differences: list[JsonDifference] = strawberry.field(
        description="The differences, in the order of the document of run `a`. Empty if the documents are equal."
    )
    has_more: bool = strawberry.field(description="True if there are more differences than were requested.")


@strawberry.type(description="One step in two runs. Steps of the same name are compared.")
class StepComparison:
    """One step in two runs."""

    pair: strawberry.Private[StepPair]

    name: str = strawberry.field(resolver=lambda root: root.pair.name, description="The step's name.")

    @field("The step in run `a`; null if the run did not reach it, or its version lacks it.")
    def a(self) -> StepResult | None:
        return StepResult(row=self.pair.a) if self.pair.a is not None else None

    @field("The step in run `b`; null if the run did not reach it, or its version lacks it.")
    def b(self) -> StepResult | None:
        return StepResult(row=self.pair.b) if self.pair.b is not None else None

    @field("True if the step has the same status in both runs, and the same error; also if neither run reached it.")
    def same_outcome(self) -> bool:
        outcomes = [row and (row.status, _error(row.error)) for row in (self.pair.a, self.pair.b)]
        return outcomes[0] == outcomes[1]

    @field("Milliseconds that the step took longer in run `b`; negative if shorter, null unless it ended in both runs.")
    def duration_difference_ms(self) -> BigInt | None:
        return _duration_difference(self.pair.a, self.pair.b)

    @field("Differences of the step's definition in the versions of the runs.")
    async def definition(self, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        return await _of_values(*self.pair.definitions, first)

    @field("Differences of the step's rendered input. A step without a result, or with purged data, has none.")
    async def input(self, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        a, b = (row.input if row is not None else None for row in (self.pair.a, self.pair.b))
        return await _of_texts(a, b, first)

    @field("Differences of the step's output. A step that did not succeed, or with purged data, has none.")
    async def output(self, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        a, b = (row.output if row is not None else None for row in (self.pair.a, self.pair.b))
        return await _of_texts(a, b, first)


@strawberry.type(description="Two runs, and in what they differ.")
class RunComparison:
    """Two runs, and in what they differ."""

    first: strawberry.Private[RunRow]
    second: strawberry.Private[RunRow]

    @field("The first run.")
    def a(self) -> FlowRun:
        return FlowRun(row=self.first)

    @field("The second run.")
    def b(self) -> FlowRun:
        return FlowRun(row=self.second)

    @field("True if both runs are of one flow.")
    def same_flow(self) -> bool:
        return self.first.flow_id == self.second.flow_id

    @field("True if both runs execute the same version of one flow.")
    def same_version(self) -> bool:
        return self.first.flow_version_id == self.second.flow_version_id

    @field(
        "Milliseconds that run `b` took longer than run `a`; negative if it was shorter, null until both have ended."
    )
    def duration_difference_ms(self) -> BigInt | None:
        return _duration_difference(self.first, self.second)

    @field("Differences of the inputs.")
    async def input(self, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        return await _of_texts(self.first.input, self.second.input, first)

    @field("Differences of the outputs. A run that did not succeed has none.")
    async def output(self, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        return await _of_texts(self.first.output, self.second.output, first)

    @field("Differences of the metadata.")
    async def metadata(self, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        return await _of_texts(self.first.metadata, self.second.metadata, first)

    @field("Differences of the definitions, except for their steps: see `StepComparison.definition`.")
    async def definition(self, info: Info, first: First = DEFAULT_DIFFERENCES) -> JsonDifferences:
        a, b = map(steps.without_steps, await steps.definitions(info.context, self.first, self.second))
        return await _of_values(a, b, first)

    @field("The steps of both versions: those of run `a` in their order, then those that only run `b` has.")
    async def steps(self, info: Info) -> list[StepComparison]:
        columns = columns_of(info, StepResult, "a") | columns_of(info, StepResult, "b")
        columns |= {"status", "error", "duration_ms"}
        columns |= {name for name in ("input", "output") if selects(info, name)}
        found = await steps.pairs(info.context, self.first, self.second, columns)
        return [StepComparison(pair=pair) for pair in found]


def columns_of_runs(info: Info) -> frozenset[str]:
    """Returns the columns of runs that the selection of a comparison needs."""
    columns = columns_of(info, FlowRun, "a") | columns_of(info, FlowRun, "b")
    compared = {name for name in ("input", "output", "metadata") if selects(info, name)}
    return columns | compared | {"flow_id", "flow_version_id", "duration_ms"}


def _duration_difference(a: Any, b: Any) -> BigInt | None:
    if a is None or b is None or a.duration_ms is None or b.duration_ms is None:
        return None
    return BigInt(b.duration_ms - a.duration_ms)


def _error(text: str | None) -> tuple[str, str] | None:
    error = None if text is None else json_codec.decode(text)
    return error and (error["code"], error["message"])


async def _of_texts(a: str | None, b: str | None, first: int) -> JsonDifferences:
    left, right = (MISSING if text is None else json_codec.decode(text) for text in (a, b))
    return await _of_values(left, right, first)


async def _of_values(a: Any, b: Any, first: int) -> JsonDifferences:
    limit = checked_size("first", first, MAX_DIFFERENCES)
    # In a thread: comparing documents of the largest size takes longer than the loop should stand still.
    found = await asyncio.to_thread(lambda: list(islice(differences(a, b), limit + 1)))
    shown = [_declared(each) for each in found[:limit]]
    return JsonDifferences(differences=shown, has_more=len(found) > limit)


def _declared(found: Difference) -> JsonDifference:
    return JsonDifference(path=found.path, kind=found.kind, a=found.a, b=found.b)
