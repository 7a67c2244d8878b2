"""Flow runs and the results of their steps."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db.sql.rows import AnyRow
from domain import clock
from domain.ids import IdKind
from resolvers import files, logs, resume, retry, runs
from resolvers.pagination import PageArguments
from schema.enums import (
    Environment,
    ErrorCode,
    LogLevel,
    RetryStrategy,
    RunStatus,
    StepData,
    StepStatus,
    TriggerMethod,
)
from schema.fields import Info, column, columns_of, field, id_column, json_column
from schema.scalars import BigInt
from schema.types.connection import After, Before, Connection, First, Last, connect
from schema.types.flow import Flow, FlowVersion
from schema.types.input_request import InputRequest
from schema.types.log_line import LogLine
from schema.types.node import Node
from schema.types.project import Project
from schema.types.run_file import RunFile
from schema.types.step_attempt import StepAttempt, StepError, step_error

StepNameArgument = Annotated[str | None, strawberry.argument(description="Only lines of this step.")]
LevelArgument = Annotated[LogLevel | None, strawberry.argument(description="Only lines that matter at least so much.")]
SearchArgument = Annotated[
    str | None, strawberry.argument(description="Only lines that have this in their message, in whatever case.")
]


@strawberry.type(description="A change of a run's status.")
class StatusChange:
    """A change of a run's status."""

    row: strawberry.Private[AnyRow]

    from_: RunStatus | None = column(
        "from_status", "The status before; null when the run was created.", convert=RunStatus, name="from"
    )
    to: RunStatus = column("to_status", "The status since then.", convert=RunStatus)
    at: datetime = column("at", "When it changed.")
    message: str = column("message", "What happened, for people.")


@strawberry.type(description="Why a run ended without success.")
class RunError:
    """Why a run ended without success."""

    row: strawberry.Private[AnyRow]

    code: str = column("error_code", "A stable word, such as HTTP_STATUS or TIMEOUT.")
    message: str = column("error_message", "For people.")
    step_name: str | None = column("failed_step_name", "The step at which the run failed.")
    fingerprint: str | None = column(
        "error_fingerprint", "The same for errors that differ in numbers, IDs and quoted values alone."
    )


@strawberry.type(description="Whether a run can be retried with a strategy, and what that would do.")
class Retryability:
    """Whether a run can be retried with a strategy."""

    judged: strawberry.Private[retry.Retryability]

    @field("How the retry would begin.")
    def strategy(self) -> RetryStrategy:
        return self.judged.strategy

    @field("Whether `retry` would be accepted now.")
    def allowed(self) -> bool:
        return self.judged.refusal is None

    @field("Why not: the code of the error that `retry` would give.")
    def reason(self) -> ErrorCode | None:
        return self.judged.refusal.code if self.judged.refusal else None

    @field("Why not, for people.")
    def message(self) -> str | None:
        return self.judged.refusal.message if self.judged.refusal else None

    @field("Steps whose results would be kept.")
    def reused_steps(self) -> int:
        return self.judged.reused_steps

    @field("Steps that would be executed.")
    def rerun_steps(self) -> int:
        return self.judged.rerun_steps


@strawberry.type(description="What happened to one step of the definition in one run.")
class StepResult:
    """What happened to one step."""

    row: strawberry.Private[AnyRow]

    name: str = column("name", "The step's name, unique in the flow.")
    display_name: str | None = column("display_name", "The name for people, when the definition has one.")
    kind: str = column("kind", "The kind of step: http, python, transform, delay, humanInput.")
    status: StepStatus = column(
        "status", "PENDING waits for its next try, PAUSED for a time or an answer.", convert=StepStatus
    )
    input: JSON | None = json_column("input", "What the step was given: its rendered input.")
    output: JSON | None = json_column("output", "What the step gave.")
    error: StepError | None = column("error", "Why the step failed, or why its last try did.", convert=step_error)
    started_at: datetime | None = column("started_at", "When the first try began.")
    finished_at: datetime | None = column("finished_at", "When the step ended.")

    @field("Milliseconds from the first try to the end; grows while the step runs.", "started_at", "duration_ms")
    def duration_ms(self) -> BigInt | None:
        if self.row.duration_ms is not None or self.row.started_at is None:
            return None if self.row.duration_ms is None else BigInt(self.row.duration_ms)
        return BigInt(clock.milliseconds_since(self.row.started_at))

    @field("Every try of the step, in order.")
    async def attempts(self, info: Info) -> list[StepAttempt]:
        rows = await runs.attempts(info.context, self.row.run_id, self.row.position)
        return [StepAttempt(row=row) for row in rows]

    @field("The run in which the step was executed, when a retry kept its result.", "reused_from_id")
    async def reused_from(self, info: Info) -> "FlowRun | None":
        return await _run(info, self.row.reused_from_id)

    @field("The run.")
    async def run(self, info: Info) -> "FlowRun":
        run = await _run(info, self.row.run_id)
        assert run is not None
        return run


@strawberry.type(description="One execution of one flow version.")
class FlowRun(Node):
    """One execution of one flow version."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.RUN, "The run's ID.")
    status: RunStatus = column("status", "Where the run stands.", convert=RunStatus)
    environment: Environment = column("environment", "Whether it is a live execution or a trial.", convert=Environment)
    trigger_method: TriggerMethod = column("trigger_method", "What started the run.", convert=TriggerMethod)
    scheduled_for: datetime | None = column(
        "scheduled_for", "The fire time for which a schedule started the run; a retry keeps it."
    )
    tags: list[str] = column("tags", "The words by which its starter filed the run.")
    metadata: JSON = json_column("metadata", "The JSON object that its starter attached to the run.")
    input: JSON = json_column("input", "What the run was given.")
    output: JSON | None = json_column("output", "What the run gave; null until it succeeds.")
    failed_step_name: str | None = column("failed_step_name", "The step at which the run failed.")
    created_at: datetime = column("created_at", "When the run was asked for.")
    started_at: datetime | None = column("started_at", "When a worker began with the run.")
    finished_at: datetime | None = column("finished_at", "When the run became final.")
    updated_at: datetime = column("updated_at", "When the run's status last changed.")
    archived_at: datetime | None = column("archived_at", "When the run was archived.")
    fail_parent_on_failure: bool = column(
        "fail_parent_on_failure", "Whether the parent run fails when this run ends without success."
    )
    attempt: int = column("attempt", "Place in the chain of retries, from 1.")
    external_id: str | None = column("external_id", "What its starter calls the run.")
    source: str | None = column("source", "Where the run came from, in its starter's words.")

    @field("Milliseconds from start to finish; null until started, growing until final.", "started_at", "duration_ms")
    def duration_ms(self) -> BigInt | None:
        if self.row.duration_ms is not None:
            return BigInt(self.row.duration_ms)
        if self.row.started_at is None:
            return None
        return BigInt(clock.milliseconds_since(self.row.started_at))

    @field("Why the run ended without success.", "error_code", "error_message", "error_fingerprint", "failed_step_name")
    def error(self) -> RunError | None:
        return RunError(row=self.row) if self.row.error_code is not None else None

    @field("Whether the inputs and outputs of the steps can be read.", "steps_purged_at", "started_at")
    def step_data(self) -> StepData:
        if self.row.steps_purged_at is not None:
            return StepData.PURGED
        return StepData.NOT_STARTED if self.row.started_at is None else StepData.AVAILABLE

    @field("The project that the run belongs to.", "project_id")
    async def project(self, info: Info) -> Project:
        return Project(row=await runs.project(info.context, self.row.project_id, columns_of(info, Project)))

    @field("The flow.", "flow_id")
    async def flow(self, info: Info) -> Flow:
        return Flow(row=await runs.flow(info.context, self.row.flow_id, columns_of(info, Flow)))

    @field("The version of the flow that the run executes.", "flow_version_id")
    async def flow_version(self, info: Info) -> FlowVersion:
        columns = columns_of(info, FlowVersion)
        return FlowVersion(row=await runs.flow_version(info.context, self.row.flow_version_id, columns))

    @field("The steps that have a result, in the order of the definition.")
    async def steps(self, info: Info) -> list[StepResult]:
        rows = await runs.step_results(info.context, self.row.id, columns_of(info, StepResult))
        return [StepResult(row=row) for row in rows]

    @field("The result of the step of this name.")
    async def step(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The step's name.")]
    ) -> StepResult | None:
        return await self._step(info, name)

    @field("The result of the step at which the run failed.", "failed_step_name")
    async def failed_step(self, info: Info) -> StepResult | None:
        name = self.row.failed_step_name
        return await self._step(info, name) if name is not None else None

    @field("How many steps have a result.")
    async def steps_count(self, info: Info) -> int:
        return await runs.steps_count(info.context, self.row.id)

    @field("Every change of the status, oldest first.")
    async def status_history(self, info: Info) -> list[StatusChange]:
        return [StatusChange(row=row) for row in await runs.status_history(info.context, self.row.id)]

    @field("For each strategy, whether `retry` would be accepted.", *retry.RUN_COLUMNS)
    async def retryability(self, info: Info) -> list[Retryability]:
        return [Retryability(judged=judged) for judged in await retry.retryability(info.context, self.row)]

    @field("The questions on which the run waits.")
    async def pending_inputs(self, info: Info) -> list[InputRequest]:
        return [InputRequest(row=row) for row in await resume.pending(info.context, self.row.id)]

    @field("The run that this one retries.", "retry_of_id")
    async def retry_of(self, info: Info) -> "FlowRun | None":
        return await _run(info, self.row.retry_of_id)

    @field("The retry of this run, or of a retry of it, that succeeded.", "recovered_by_id")
    async def recovered_by(self, info: Info) -> "FlowRun | None":
        return await _run(info, self.row.recovered_by_id)

    @field("The run that started this one.", "parent_run_id")
    async def parent_run(self, info: Info) -> "FlowRun | None":
        return await _run(info, self.row.parent_run_id)

    @field("The topmost ancestor; the run itself when it has no parent.", "root_run_id")
    async def root_run(self, info: Info) -> "FlowRun":
        root = await _run(info, self.row.root_run_id)
        assert root is not None
        return root

    @field("The runs that retry this one directly, oldest first.")
    async def retries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection["FlowRun"]:
        return await _linked(info, runs.RETRIES, self.row.id, PageArguments(first, after, last, before))

    @field("The runs that this one started, oldest first.")
    async def child_runs(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection["FlowRun"]:
        return await _linked(info, runs.CHILDREN, self.row.id, PageArguments(first, after, last, before))

    @field("What was logged while the run was executed, in order. `/runs/<run ID>/log` has all of it as text.")
    async def logs(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        step_name: StepNameArgument = None,
        level: LevelArgument = None,
        search: SearchArgument = None,
    ) -> Connection[LogLine]:
        wanted = logs.wanted_lines(step_name, level, search)
        return await connect(
            info,
            LogLine,
            PageArguments(first, after, last, before),
            fetch=lambda asked, _: logs.page(info.context, self.row.id, wanted, asked),
            count=lambda limit: logs.count(info.context, self.row.id, wanted, limit),
        )

    @field("The files that the steps stored, oldest first.")
    async def files(self, info: Info) -> list[RunFile]:
        rows = await files.of_run(info.context, self.row.id, columns_of(info, RunFile))
        return [RunFile(row=row) for row in rows]

    async def _step(self, info: Info, name: str) -> StepResult | None:
        row = await runs.step_result(info.context, self.row.id, name, columns_of(info, StepResult))
        return StepResult(row=row) if row else None


async def _run(info: Info, key: UUID | None) -> FlowRun | None:
    row = await runs.by_key(info.context, key, columns_of(info, FlowRun))
    return FlowRun(row=row) if row else None


async def _linked(info: Info, link: str, owner: UUID, arguments: PageArguments) -> Connection[FlowRun]:
    return await connect(
        info,
        FlowRun,
        arguments,
        fetch=lambda asked, columns: runs.linked_page(info.context, link, owner, asked, columns),
        count=lambda limit: runs.linked_count(info.context, link, owner, limit),
    )
