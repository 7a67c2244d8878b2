"""The root of queries."""

import asyncio
from typing import Annotated

import strawberry

from domain import ids
from domain.errors import InvalidArgumentError, InvalidIdError
from domain.ids import IdKind
from resolvers import bulk, files, flows, projects, runs, schedules, stats, webhooks
from resolvers.pagination import PageArguments
from schema.fields import Info, columns_of, field
from schema.filters import FlowFilter, FlowRunFilter, FlowRunOrder
from schema.types.bulk_operation import BulkOperation
from schema.types.connection import After, Before, Connection, First, Last, connect
from schema.types.flow import Flow, FlowVersion, Schedule, Webhook
from schema.types.flow_run import FlowRun
from schema.types.node import Node
from schema.types.project import Project, Viewer
from schema.types.run_file import RunFile
from schema.types.stats import FlowRunStats

MAX_NODES = 1_000
"""IDs in one call of `nodes`."""

Id = Annotated[strawberry.ID, strawberry.argument(description="Its ID.")]
Ids = Annotated[list[strawberry.ID], strawberry.argument(description=f"Their IDs, at most {MAX_NODES}.")]
Flows = Annotated[FlowFilter | None, strawberry.argument(description="Which flows; without it all that the key sees.")]
FlowRuns = Annotated[
    FlowRunFilter | None, strawberry.argument(description="Which runs; without it all that the key sees.")
]
OrderBy = Annotated[FlowRunOrder | None, strawberry.argument(description="In which order.")]


@strawberry.type(description="Reads.")
class Query:
    """The root of queries."""

    @field("What has this ID; null when there is no such thing that the key sees.")
    async def node(self, info: Info, id: Id) -> Node | None:  # noqa: A002
        return await _node(info, id)

    @field("What has these IDs, in their order; null where there is no such thing that the key sees.")
    async def nodes(self, info: Info, ids: Ids) -> list[Node | None]:
        if len(ids) > MAX_NODES:
            raise InvalidArgumentError(f"`ids` takes at most {MAX_NODES:,} values, got {len(ids):,}.")
        return await asyncio.gather(*(_node(info, each) for each in ids))

    @field("The key in use.")
    def viewer(self, info: Info) -> Viewer:
        return Viewer(key=info.context.viewer)

    @field("The flow; null when there is none that the key sees.")
    async def flow(self, info: Info, id: Id) -> Flow | None:  # noqa: A002
        row = await flows.get(info.context, id, columns_of(info, Flow))
        return Flow(row=row) if row else None

    @field("Flows, newest first.")
    async def flows(
        self,
        info: Info,
        filter: Flows = None,  # noqa: A002
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Flow]:
        wanted = flows.scoped(info.context, (filter or FlowFilter()).to_domain())
        return await connect(
            info,
            Flow,
            PageArguments(first, after, last, before),
            fetch=lambda asked, columns: flows.page(info.context, wanted, asked, columns),
            count=lambda limit: flows.count(info.context, wanted, limit),
        )

    @field("The run; null when there is none that the key sees. Archived runs are found too.")
    async def flow_run(self, info: Info, id: Id) -> FlowRun | None:  # noqa: A002
        row = await runs.get(info.context, id, columns_of(info, FlowRun))
        return FlowRun(row=row) if row else None

    @field("Runs, newest first unless another order is asked for. Archived runs are left out unless asked for.")
    async def flow_runs(
        self,
        info: Info,
        filter: FlowRuns = None,  # noqa: A002
        order_by: OrderBy = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[FlowRun]:
        wanted = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        order = (order_by or FlowRunOrder()).to_domain()
        return await connect(
            info,
            FlowRun,
            PageArguments(first, after, last, before),
            fetch=lambda asked, columns: runs.page(info.context, wanted, order, asked, columns),
            count=lambda limit: runs.count(info.context, wanted, limit),
        )

    @field("Statistics over runs. Archived runs are left out unless asked for.")
    def flow_run_stats(self, info: Info, filter: FlowRuns = None) -> FlowRunStats:  # noqa: A002
        wanted = runs.scoped(info.context, (filter or FlowRunFilter()).to_domain())
        return FlowRunStats(of=stats.of_runs(info.context, wanted))

    @field("The bulk operation, or the plan of one; null when there is none that the key sees.")
    async def bulk_operation(self, info: Info, id: Id) -> BulkOperation | None:  # noqa: A002
        row = await bulk.get(info.context, id, columns_of(info, BulkOperation))
        return BulkOperation(row=row) if row else None

    @field("Bulk operations that began, newest first.")
    async def bulk_operations(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[BulkOperation]:
        return await connect(
            info,
            BulkOperation,
            PageArguments(first, after, last, before),
            fetch=lambda asked, columns: bulk.page(info.context, asked, columns),
            count=lambda limit: bulk.count(info.context, limit),
        )


async def _node(info: Info, text: str) -> Node | None:
    """What the ID `text` names.

    Raises:
        InvalidIdError: it is not an ID, or not that of a node.
    """
    kind, _ = ids.decode_any(text)
    if kind not in _NODES:
        raise InvalidIdError(f"There is no node of the kind that {text!r} names.")
    of, get = _NODES[kind]
    row = await get(info.context, text, columns_of(info, of))
    return of(row=row) if row else None


_NODES = {
    IdKind.PROJECT: (Project, projects.get),
    IdKind.FLOW: (Flow, flows.get),
    IdKind.FLOW_VERSION: (FlowVersion, flows.get_version),
    IdKind.RUN: (FlowRun, runs.get),
    IdKind.FILE: (RunFile, files.get),
    IdKind.SCHEDULE: (Schedule, schedules.get),
    IdKind.BULK_OPERATION: (BulkOperation, bulk.get),
    IdKind.WEBHOOK: (Webhook, webhooks.get),
}
