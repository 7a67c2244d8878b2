"""Events in one run: changes of its steps, and lines of its log."""

from datetime import datetime

import strawberry

from db.runs import reads
from domain import ids
from domain.ids import IdKind
from live.events import EventOfKind
from resolvers.flow_runs import progress
from schema.enums import StepStatus
from schema.fields import Info, column, columns_of, field
from schema.types.flow_run import StepResult
from schema.types.runs.log_line import LogLine
from schema.types.runs.step_attempt import StepError, step_error

CURSOR = "Position of the event in the event log. Pass it as `after` to resume from here."


@strawberry.type(description="A change of a step's status.")
class StepStatusChange:
    """A change of a step's status."""

    row: strawberry.Private[EventOfKind]

    from_: StepStatus = column("from_status", "Status before the change.", convert=StepStatus, name="from")
    to: StepStatus = column("to_status", "Status after the change.", convert=StepStatus)
    at: datetime = column("at", "Time of the change.")


@strawberry.type(
    description="The status of a step changed: an attempt started, ended or waits, or the step was skipped."
)
class StepChanged:
    """The status of a step changed."""

    row: strawberry.Private[EventOfKind]

    cursor: str = strawberry.field(description=CURSOR)

    step_name: str = column("step_name", "Name of the step.")
    # Not `status` and `change`: those of a run have other types, and one selection could not contain both.
    step_status: StepStatus = column(
        "to_status", "Status after the change. PENDING if the step will be tried again.", convert=StepStatus
    )

    @field("ID of the run.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The change.")
    def step_change(self) -> StepStatusChange:
        return StepStatusChange(row=self.row)

    @field("Number of the attempt that changed the status, from 1. Null if the step was skipped without an attempt.")
    def attempt(self) -> int | None:
        return progress.event_data(self.row)["attempt"] or None

    @field(
        "The error of a failed step, or of an attempt after which the step is tried again. Null for other "
        "changes, and if retention deleted the error."
    )
    async def error(self, info: Info) -> StepError | None:
        text = await progress.step_error(info.context, self.row)
        return step_error(text) if text is not None else None

    @field(
        "The step as it is when the event is delivered, which may be later than the change. Null if retention "
        "deleted it."
    )
    async def step(self, info: Info) -> StepResult | None:
        key = (self.row.run_id, self.row.step_name)
        row = await info.context.loaders.load(reads.steps_by_names, key, columns_of(info, StepResult))
        return StepResult(row=row) if row is not None else None


@strawberry.type(description="Lines were added to the log of a run.")
class LogLinesAppended:
    """Lines were added to the log of a run."""

    row: strawberry.Private[EventOfKind]

    cursor: str = strawberry.field(description=CURSOR)

    @field("ID of the run.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The lines, in order. Fewer than were added if retention deleted some.", name="lines")
    async def log_lines(self, info: Info) -> list[LogLine]:
        return [LogLine(row=row) for row in await progress.log_lines(info.context, self.row)]
