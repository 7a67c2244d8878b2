"""The query for the values of a filter bar."""

from typing import Annotated

import strawberry

from live.stats_feed import Statistics
from resolvers.flow_runs import runs
from schema.arguments import argument
from schema.fields import Info, field
from schema.inputs.filters import FlowRunFilter
from schema.types.runs.pickers import Pickers

PickedFilter = Annotated[
    FlowRunFilter | None,
    argument("The runs whose values are listed. Default: all that the key can see and that are not archived."),
]


@strawberry.type(description="Values of runs.")
class PickersQuery:
    """Values of runs, a part of the root type."""

    @field(
        "Values that runs have, such as tags and sources, with the number of runs: for the choices of a filter bar."
        " Archived runs are left out unless the filter includes them."
    )
    def pickers(self, info: Info, filter: PickedFilter = None) -> Pickers:  # noqa: A002
        where = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return Pickers(statistics=Statistics(info.context.database, where))
