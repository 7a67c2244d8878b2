"""The queue, in groups."""

from datetime import datetime

import strawberry

from db import flows, projects
from db.queue.backlog import MAX_COUNTED, Backlog
from schema.enums import QueuePriority
from schema.fields import Info, columns_of, field
from schema.types.flow import Flow
from schema.types.project import Project

_UP_TO = f"Counting stops at {MAX_COUNTED:,} runs of a priority"


@strawberry.type(
    description="The live runs of one group, by what they wait for. Runs that wait for a person or for child runs, and"
    " have no time limit, are in none of the numbers."
)
class Queue:
    """The live runs of one group."""

    backlog: strawberry.Private[Backlog]

    @field("The project; null if the runs are grouped by PRIORITY.")
    async def project(self, info: Info) -> Project | None:
        key = self.backlog.key.project_id
        if key is None:
            return None
        return Project(row=await info.context.loaders.load_existing(projects.by_ids, key, columns_of(info, Project)))

    @field("The flow; null unless the runs are grouped by FLOW.")
    async def flow(self, info: Info) -> Flow | None:
        key = self.backlog.key.flow_id
        if key is None:
            return None
        return Flow(row=await info.context.loaders.load_existing(flows.by_ids, key, columns_of(info, Flow)))

    @field("The priority; null unless the runs are grouped by PRIORITY.")
    def priority(self) -> QueuePriority | None:
        return self.backlog.key.priority

    @field(f"Depth: due runs that no worker has claimed. {_UP_TO}, those that became due first.")
    def due(self) -> int:
        return self.backlog.due

    @field("When the first of them became due; null if there are none.")
    def oldest_due_at(self) -> datetime | None:
        return self.backlog.oldest_due_at

    @field(f"Runs that wait for a slot of a concurrency limit. Counting stops at {MAX_COUNTED:,} runs of all groups.")
    def waiting_for_slot(self) -> int:
        return self.backlog.waiting

    @field("When the run that has waited longest for a slot became due; null if there are none.")
    def oldest_waiting_at(self) -> datetime | None:
        return self.backlog.oldest_waiting_at

    @field("Runs that workers execute now.")
    def executing(self) -> int:
        return self.backlog.executing

    @field(
        "Runs that become due by themselves: at the end of a delay, at the next attempt, or when a wait for a person or"
        f" for child runs times out. {_UP_TO}, together with those that are executed, those that become due first."
    )
    def later(self) -> int:
        return self.backlog.later

    @field("When the next of them becomes due; null if there are none.")
    def next_due_at(self) -> datetime | None:
        return self.backlog.next_due_at

    @field("The concurrency limit of the flow or project of the group; null if it has none, and for PRIORITY.")
    def max_concurrent_runs(self) -> int | None:
        return self.backlog.limit

    @field("RUNNING runs under this limit; null without a limit.")
    def slots_in_use(self) -> int | None:
        return self.backlog.slots_in_use
