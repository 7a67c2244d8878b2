"""The query that compares two runs."""

from typing import Annotated

import strawberry

from resolvers.flow_runs import runs
from schema.arguments import argument
from schema.fields import Info, field
from schema.types.runs.comparison import RunComparison, columns_of_runs


@strawberry.type(description="The comparison of runs.")
class ComparisonQuery:
    """The comparison of runs, a part of the root type."""

    @field("Compares two runs, such as a failed one and a good one of a flow; null if the key cannot see one of them.")
    async def compare_runs(
        self,
        info: Info,
        a: Annotated[strawberry.ID, argument("The first run.")],
        b: Annotated[strawberry.ID, argument("The second run.")],
    ) -> RunComparison | None:
        columns = columns_of_runs(info)
        first, second = [await runs.get(info.context, run_id, columns) for run_id in (a, b)]
        if first is None or second is None:
            return None
        return RunComparison(first=first, second=second)
