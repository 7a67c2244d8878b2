"""The wait of a live run."""

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry

from db import flows, projects
from db.queue import holds
from db.row_json.computed import WAIT_KIND, WAIT_UNTIL
from db.row_types import RunRow
from db.runs import reads
from db.runs.waits import input_requests, waiting
from db.runs.waits.waiting import MAX_POSITION
from domain.runs import wait
from domain.time import clock
from schema.enums import WaitKind
from schema.fields import Info, columns_of, field, type_named
from schema.relay.node import Node
from schema.types.flow import Flow
from schema.types.input_request import InputRequest
from schema.types.project import Project

if TYPE_CHECKING:
    from schema.types.flow_run import FlowRun


@strawberry.type(description="The wait of a live run: what it waits for, and until when.")
class WaitingFor:
    """The wait of a live run."""

    row: strawberry.Private[RunRow]

    @field("The kind of the wait.", *wait.COLUMNS, written=WAIT_KIND)
    def kind(self) -> WaitKind:
        kind = wait.wait_kind(self.row, clock.now())
        assert kind is not None  # The run waits, or this object would not exist.
        return kind

    @field(
        "The instant at which the run continues: the end of a delay, the next attempt, or for a person and for "
        "child runs the instant at which the wait times out. Null if there is none, and for SLOT, RELEASE and WORKER.",
        *wait.COLUMNS,
        written=WAIT_UNTIL,
    )
    def until(self) -> datetime | None:
        due_at = self.row.due_at
        return due_at if self.row.blocked_by is None and due_at is not None and due_at > clock.now() else None

    @field(
        "The object that keeps the run waiting. SLOT: the flow or the project whose concurrency limit is "
        "reached. PERSON: the input request. CHILDREN: the oldest child run that has not ended. RELEASE: the flow "
        "or the project that is held. Null for the other kinds.",
        *wait.COLUMNS,
    )
    async def blocked_by(self, info: Info) -> Node | None:
        loaders, run = info.context.loaders, self.row
        match self.kind():
            case WaitKind.SLOT:
                return await self._flow(info) if run.blocked_by == run.flow_id else await self._project(info)
            case WaitKind.RELEASE:
                assert run.blocked_by is not None  # it stands in the queue of a hold
                hold = await loaders.load(holds.by_ids, run.blocked_by, frozenset({"flow_id"}))
                return await self._flow(info) if hold and hold.flow_id is not None else await self._project(info)
            case WaitKind.PERSON:
                requests = await loaders.load(input_requests.pending_by_runs, run.id)
                return InputRequest(row=requests[0]) if requests else None
            case WaitKind.CHILDREN:
                child = await loaders.load(waiting.live_child_by_parents, run.id)
                if child is None:
                    return None
                of: type[FlowRun] = type_named(info, "FlowRun")
                return of(row=await loaders.load_existing(reads.by_ids, child, columns_of(info, of)))
        return None

    async def _flow(self, info: Info) -> Flow:
        columns = columns_of(info, Flow)
        return Flow(row=await info.context.loaders.load_existing(flows.by_ids, self.row.flow_id, columns))

    async def _project(self, info: Info) -> Project:
        columns = columns_of(info, Project)
        return Project(row=await info.context.loaders.load_existing(projects.by_ids, self.row.project_id, columns))

    @field(
        f"The run's position in its queue, from 1: for SLOT in the queue of the limit, for WORKER among the due runs of"
        f" all projects. Null for the other kinds, and beyond {MAX_POSITION:,}.",
        *wait.COLUMNS,
    )
    async def position(self, info: Info) -> int | None:
        loaders, run = info.context.loaders, self.row
        match self.kind():
            case WaitKind.SLOT:
                assert run.blocked_by is not None  # The run waits in a queue.
                positions = await loaders.load(waiting.positions_for_slots, run.blocked_by)
            case WaitKind.WORKER:
                positions = await loaders.load(waiting.positions_for_workers, None)
            case _:
                return None
        return (positions or {}).get(run.id)
