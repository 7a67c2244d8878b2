"""Queries of the workers and of the queue."""

from typing import Annotated

import strawberry

from resolvers.queue import queues, workers
from resolvers.queue.queues import DEFAULT_QUEUES, MAX_QUEUES
from schema.enums import QueueGroup, WorkerStatus
from schema.fields import Info, field
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.types.queue.queue import Queue
from schema.types.queue.worker import Worker

Statuses = Annotated[
    list[WorkerStatus] | None,
    strawberry.argument(description="Only workers with one of these statuses. By default all that are listed."),
]
By = Annotated[QueueGroup, strawberry.argument(description="What the runs of one row have in common.")]
ProjectIds = Annotated[
    list[strawberry.ID] | None,
    strawberry.argument(
        description="Only runs of these projects. By default of all projects that the key sees; keys of one project see"
        " no others."
    ),
]
FirstQueues = Annotated[int, strawberry.argument(description=f"The number of rows, 1 to {MAX_QUEUES:,}.")]


@strawberry.type(description="Queries of the workers and of the queue.")
class QueueQuery:
    """Queries of the workers and of the queue, a part of the root type."""

    @field("The workers, newest first. They execute the runs of all projects, and every key sees them.")
    async def workers(
        self,
        info: Info,
        statuses: Statuses = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Worker]:
        source = workers.list_of(info.context, statuses)
        return await connect(info, Worker, source, PageArguments(first, after, last, before))

    @field(
        "The runs that the key sees in the queue, in groups: the longest queue first, and all three priorities. Flows"
        " and projects without such runs are not listed."
    )
    async def queues(
        self,
        info: Info,
        by: By = QueueGroup.FLOW,
        project_ids: ProjectIds = None,
        first: FirstQueues = DEFAULT_QUEUES,
    ) -> list[Queue]:
        found = await queues.groups(info.context, by, project_ids, first)
        return [Queue(backlog=each) for each in found]
