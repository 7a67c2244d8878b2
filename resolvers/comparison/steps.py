"""The steps of two runs, by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db import flows
from db.row_types import RunRow, StepRow
from db.runs import reads
from domain import json_codec
from domain.runs.json_difference import MISSING
from resolvers.context import Context

_STEPS = "steps"


@dataclass(frozen=True, slots=True)
class StepPair:
    """The step of one name in two runs."""

    name: str
    a: StepRow | None
    """None: the first run has not reached the step, or its version lacks it."""
    b: StepRow | None
    definitions: tuple[Any, Any]
    """The step's definition in the version of each run; MISSING: the version lacks it."""


async def definitions(context: Context, a: RunRow, b: RunRow) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Returns the definitions that two runs execute. Callers must have read `flow_version_id` of the runs."""
    columns = frozenset({"definition"})
    first, second = [
        await context.loaders.load_existing(flows.versions_by_ids, run.flow_version_id, columns) for run in (a, b)
    ]
    return json_codec.decode(first.definition), json_codec.decode(second.definition)


def without_steps(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a definition without its steps, which are compared by their names."""
    return {name: value for name, value in definition.items() if name != _STEPS}


async def pairs(context: Context, a: RunRow, b: RunRow, columns: frozenset[str]) -> Sequence[StepPair]:
    """Returns the steps of both runs: those of the first run's version in their order, then those that only the other
    version has."""
    results = [await context.loaders.load(reads.steps_by_runs, run.id, columns | {"name"}) or () for run in (a, b)]
    first, second = ({row.name: row for row in rows} for rows in results)
    of_a, of_b = ({step["name"]: step for step in each[_STEPS]} for each in await definitions(context, a, b))
    return [
        StepPair(name, first.get(name), second.get(name), (of_a.get(name, MISSING), of_b.get(name, MISSING)))
        for name in dict.fromkeys((*of_a, *of_b))
    ]
