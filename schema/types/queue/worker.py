"""Workers."""

from datetime import datetime
from typing import Annotated

import strawberry

from db.queue import workers
from db.row_types import WorkerRow
from domain.ids import IdKind
from domain.time import clock
from resolvers.flow_runs.stats import checked_size
from resolvers.queue import workers as resolved_workers
from schema.enums import WorkerStatus
from schema.fields import Info, column, columns_of, field, id_column
from schema.relay.connection import DEFAULT_PAGE, MAX_PAGE
from schema.relay.node import Node
from schema.types.flow_run import FlowRun

FirstRuns = Annotated[int, strawberry.argument(description=f"The number of runs, 1 to {MAX_PAGE}.")]


@strawberry.type(
    description="A process that executes runs of all projects. It reports itself every few seconds, and is no longer"
    " listed when it has stopped. One that was killed is listed as LOST for a day."
)
class Worker(Node):
    """A process that executes runs."""

    row: strawberry.Private[WorkerRow]

    id: strawberry.ID = id_column(IdKind.WORKER, "The worker's ID. It is another one after a restart.")
    version: str = column("version", "The version of the service that the worker runs.")
    concurrency: int = column("concurrency", "Runs that the worker executes at the same time, at most.")
    executing: int = column(
        "executing",
        "Runs that the worker executed at its last heartbeat, of all projects: also those that the key does not see.",
    )
    started_at: datetime = column("started_at", "The start of the process.")
    heartbeat_at: datetime = column("heartbeat_at", "When the worker last reported itself, by its own clock.")

    @field("Whether the worker lives, and claims runs.", "draining", "heartbeat_at")
    def status(self) -> WorkerStatus:
        return workers.status(self.row, clock.now())

    @field(
        "Runs that the worker can still take, as of its last heartbeat: 0 unless it is ACTIVE.",
        "concurrency",
        "executing",
        "draining",
        "heartbeat_at",
    )
    def free(self) -> int:
        is_active = workers.status(self.row, clock.now()) is WorkerStatus.ACTIVE
        return max(0, self.row.concurrency - self.row.executing) if is_active else 0

    @field("The name of its host; null for keys of one project, unless their role is ADMIN.", "host")
    def host(self, info: Info) -> str | None:
        return self.row.host if resolved_workers.sees_host(info.context.viewer) else None

    @field(
        "The number of the process on its host; null for keys of one project, unless their role is ADMIN.",
        "process_id",
    )
    def process_id(self, info: Info) -> int | None:
        return self.row.process_id if resolved_workers.sees_host(info.context.viewer) else None

    @field(
        "What the worker does: the runs that it executes and that the key sees, those first that it has executed"
        f" longest. A run appears after about a second. At most {workers.MAX_REPORTED:,} are known.",
        "run_ids",
    )
    async def runs(self, info: Info, first: FirstRuns = DEFAULT_PAGE) -> list[FlowRun]:
        limit = checked_size("first", first, MAX_PAGE)
        rows = await resolved_workers.runs(info.context, self.row, columns_of(info, FlowRun), limit)
        return [FlowRun(row=row) for row in rows]
