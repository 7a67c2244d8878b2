"""What happens in a run: changes of its steps, and lines of its log."""

from datetime import datetime

import strawberry

from db.runs import reads
from db.sql.rows import AnyRow
from domain import ids
from domain.ids import IdKind
from resolvers import progress
from schema.enums import StepStatus
from schema.fields import Info, column, columns_of, field
from schema.types.flow_run import StepResult
from schema.types.log_line import LogLine
from schema.types.step_attempt import StepError, step_error

CURSOR = "Where the change stands in the log: as `after` it goes on from here."


@strawberry.type(description="A change of a step's status.")
class StepStatusChange:
    """A change of a step's status."""

    row: strawberry.Private[AnyRow]

    from_: StepStatus = column("from_status", "The status before.", convert=StepStatus, name="from")
    to: StepStatus = column("to_status", "The status since then.", convert=StepStatus)
    at: datetime = column("at", "When it changed.")


@strawberry.type(description="A step changed its status: a try of it began, ended or waits, or it was skipped.")
class StepChanged:
    """A step changed its status."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description=CURSOR)

    step_name: str = column("step_name", "The step's name.")
    # Not `status` and `change`: beside those of a run, which have other types, a query could not select them.
    step_status: StepStatus = column("to_status", "The status now; PENDING when it is tried again.", convert=StepStatus)

    @field("The run's ID.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The change.")
    def step_change(self) -> StepStatusChange:
        return StepStatusChange(row=self.row)

    @field("The try that changed it, from 1; null when there was none, because the step was skipped.")
    def attempt(self) -> int | None:
        return progress.said(self.row)["attempt"] or None

    @field("Why the step failed, or the try after which it is tried again; null when that is no longer kept.")
    async def error(self, info: Info) -> StepError | None:
        text = await progress.step_error(info.context, self.row)
        return step_error(text) if text is not None else None

    @field(
        "The step as it is when this is told, which may be further on than the change; null when it is no longer kept."
    )
    async def step(self, info: Info) -> StepResult | None:
        key = (self.row.run_id, self.row.step_name)
        row = await info.context.loaders.load(reads.steps_by_names, key, columns_of(info, StepResult))
        return StepResult(row=row) if row is not None else None


@strawberry.type(description="Lines were added to the log of a run.")
class LogLinesAppended:
    """Lines were added to the log of a run."""

    row: strawberry.Private[AnyRow]

    cursor: str = strawberry.field(description=CURSOR)

    @field("The run's ID.")
    def run_id(self) -> strawberry.ID:
        return strawberry.ID(ids.encode(IdKind.RUN, self.row.run_id))

    @field("The lines, in order.")
    async def lines(self, info: Info) -> list[LogLine]:
        return [LogLine(row=row) for row in await progress.lines(info.context, self.row)]
