"""Flow runs and the results of their steps."""

from datetime import datetime
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from db import flows, projects
from db.events import log as event_log
from db.row_json.computed import DURATION, PAUSED, QUEUED, RUNNING, STEP_DATA, WAIT_KIND
from db.row_json.sources import Count, JsonMembers, Key, One, Paged, Rows, SameRow
from db.row_types import EventRow, RunRow, StepRow
from db.runs import reads
from db.runs.output import files
from db.runs.waits import input_requests
from domain import ids
from domain.enums import InputRequestStatus
from domain.ids import IdKind
from domain.runs import wait
from domain.time import clock
from resolvers.flow_runs import completion, logs, rerun, retry
from resolvers.flow_runs.logs import LogLines
from resolvers.flow_runs.runs import CHILDREN, RERUNS, RETRIES, LinkedRuns
from schema.enums import (
    Environment,
    LogLevel,
    RetryStrategy,
    RunStatus,
    StepData,
    StepStatus,
    TriggerMethod,
)
from schema.fields import Info, column, columns_of, field, id_column, json_column, link, many
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.relay.node import Node
from schema.scalars import BigInt
from schema.types.actor import Actor, actor_column
from schema.types.flow import Flow, FlowVersion
from schema.types.input_request import InputRequest
from schema.types.project import Project
from schema.types.runs.log_line import LogLine
from schema.types.runs.run_file import RunFile
from schema.types.runs.start_check import Completability, Retryability, StartCheck
from schema.types.runs.step_attempt import StepAttempt, StepError, step_error
from schema.types.runs.waiting_for import WaitingFor

_RUNNING_COLUMNS = ("running_since", "ran_ms", "finished_at")
_STEPS = Rows("step_result", {"run_id": "id"}, order="position")

StepNameArgument = Annotated[
    str | None, strawberry.argument(description="Only lines that the step with this name wrote. Default: all lines.")
]
LevelArgument = Annotated[
    LogLevel | None,
    strawberry.argument(description="Only lines of this level or a more severe one. Default: all lines."),
]
SearchArgument = Annotated[
    str | None,
    strawberry.argument(
        description="Only lines whose message contains this text (case-insensitive). At most 1,000 characters."
    ),
]


@strawberry.type(description="A change of a run's status.")
class StatusChange:
    """A change of a run's status."""

    row: strawberry.Private[EventRow]

    from_: RunStatus | None = column(
        "from_status", "The status before the change; null for the creation of the run.", convert=RunStatus, name="from"
    )
    to: RunStatus = column("to_status", "The status after the change.", convert=RunStatus)
    at: datetime = column("at", "The instant of the change.")
    message: str = column("message", "Human-readable message. Do not parse it.")


@strawberry.type(description="The error with which a run ended.")
class RunError:
    """The error with which a run ended."""

    row: strawberry.Private[RunRow]

    code: str = column("error_code", "A stable code, such as HTTP_STATUS or TIMEOUT.")
    message: str = column("error_message", "Human-readable message. Do not parse it: use `code`.")
    step_name: str | None = column(
        "failed_step_name",
        "The name of the step at which the run failed; null if it failed outside of a step.",
    )
    fingerprint: str | None = column(
        "error_fingerprint",
        "Identifies similar errors: equal if messages differ only in numbers, IDs and quoted values. Use it in "
        "the filter `errorFingerprint`.",
    )


@strawberry.type(description="The result of one step of the definition in one run.")
class StepResult:
    """The result of one step."""

    row: strawberry.Private[StepRow]

    name: str = column("name", "The step's name, unique in the flow.")
    display_name: str | None = column("display_name", "The display name in the definition; null if it has none.")
    kind: str = column("kind", "The kind of the step: http, python, transform, delay, humanInput or flow.")
    status: StepStatus = column(
        "status",
        "The status. PENDING: waiting for the next attempt. PAUSED: waiting for a time, an input or child runs.",
        convert=StepStatus,
    )
    input: JSON | None = json_column(
        "input", "The input, with its templates rendered; null if the step was skipped, or its data was purged."
    )
    output: JSON | None = json_column("output", "The output; null until the step succeeds.")
    error: StepError | None = column(
        "error",
        "The error of the last failed attempt; null if no attempt failed.",
        convert=step_error,
        written=JsonMembers("error"),
    )
    started_at: datetime | None = column("started_at", "The start of the first attempt; null if there was none.")
    finished_at: datetime | None = column("finished_at", "The end of the step; null until then.")

    @field(
        "Milliseconds from `startedAt` to `finishedAt`, or until now; null before the start.",
        "started_at",
        "duration_ms",
        written=DURATION,
    )
    def duration_ms(self) -> BigInt | None:
        if self.row.duration_ms is not None or self.row.started_at is None:
            return None if self.row.duration_ms is None else BigInt(self.row.duration_ms)
        return BigInt(clock.milliseconds_since(self.row.started_at))

    attempts: list[StepAttempt] = many(
        "The attempts at the step, oldest first.",
        Rows("step_attempt", {"run_id": "run_id", "position": "position"}, order="number"),
        reads.attempts_by_steps,
        all_columns=True,
    )
    reused_from: "FlowRun | None" = link(
        "The earlier run that executed the step, if this run is a retry that kept its result; otherwise null.",
        "reused_from_id",
        reads.by_ids,
        "flow_run",
    )
    completed_by: Actor | None = actor_column(
        "completed_by",
        "Who completed the step by hand, with `completeStep`. Such a step was not executed; its output was "
        "given, or it is SKIPPED. Null for all other steps.",
    )
    completion_note: str | None = column(
        "completion_note", "The note that was given when the step was completed by hand; null if there is none."
    )
    run: "FlowRun" = link("The run of the step.", "run_id", reads.by_ids, "flow_run")


@strawberry.type(description="One execution of one flow version.")
class FlowRun(Node):
    """One execution of one flow version."""

    row: strawberry.Private[RunRow]

    id: strawberry.ID = id_column(IdKind.RUN, "The run's ID.")
    status: RunStatus = column("status", "The status.", convert=RunStatus)
    environment: Environment = column(
        "environment", "PRODUCTION for a real execution, TESTING for a trial.", convert=Environment
    )
    trigger_method: TriggerMethod = column("trigger_method", "How the run was started.", convert=TriggerMethod)
    scheduled_for: datetime | None = column(
        "scheduled_for",
        "The fire time for which a schedule started the run; a retry keeps it. Null for other runs.",
    )
    note: str | None = column("note", "A note about the run, set with `updateRun`; null if there is none.")
    summary: str | None = column(
        "summary",
        "One line that says what the run is about, by the `summary` of its flow's definition; null before the run"
        " starts, and if the definition has none. Secrets are masked in it.",
    )
    tags: list[str] = column("tags", "The tags given when the run was started, or by `updateRun` since.")
    metadata: JSON = json_column("metadata", "The JSON object given when the run was started; empty by default.")
    input: JSON = json_column("input", "The input of the run.")
    output: JSON | None = json_column("output", "The output of the run; null until it succeeds.")
    failed_step_name: str | None = column(
        "failed_step_name",
        "The name of the step at which the run failed; null if it failed outside of a step.",
    )
    created_at: datetime = column("created_at", "The instant of the run's creation.")
    started_at: datetime | None = column(
        "started_at", "The instant at which a worker started the run; null until then."
    )
    finished_at: datetime | None = column(
        "finished_at", "The instant at which the run ended; null until its status is final."
    )
    updated_at: datetime = column(
        "updated_at",
        "The time of the last change of the status, or of the recovery of the run. Archiving does not change it.",
    )
    archived_at: datetime | None = column(
        "archived_at", "The instant at which the run was archived; null if it is not archived."
    )
    started_by: Actor | None = actor_column(
        "started_by",
        "Who started the run: an API key, a schedule, a webhook or the parent run. A retry keeps it. Null for "
        "runs that were started before this was recorded.",
    )
    retried_by: Actor | None = actor_column(
        "retried_by", "Who retried `retryOf`, which created this run; null if the run is not a retry."
    )
    cancelled_by: Actor | None = actor_column(
        "cancelled_by",
        "Who cancelled the run, or the ancestor with which it was cancelled; null if it was not cancelled.",
    )
    archived_by: Actor | None = actor_column("archived_by", "Who archived the run; null if it is not archived.")
    fail_parent_on_failure: bool = column(
        "fail_parent_on_failure", "True if the parent run fails when this run ends without success."
    )
    attempt: int = column("attempt", "Position in the chain of retries: 1 for a run that is not a retry.")
    external_id: str | None = column(
        "external_id", "The client's ID of the run, given when it was started; null by default."
    )
    source: str | None = column(
        "source",
        "The origin of the run: the ID of its schedule or webhook, or the text given at its start; null if none "
        "was given.",
    )

    @field(
        "Milliseconds from `startedAt` to `finishedAt`, or until now; null before the start.",
        "started_at",
        "duration_ms",
        written=DURATION,
    )
    def duration_ms(self) -> BigInt | None:
        if self.row.duration_ms is not None:
            return BigInt(self.row.duration_ms)
        if self.row.started_at is None:
            return None
        return BigInt(clock.milliseconds_since(self.row.started_at))

    @field(
        "The error with which the run ended; null unless it ended without success.",
        "error_code",
        "error_message",
        "error_fingerprint",
        "failed_step_name",
        written=SameRow("error_code"),
    )
    def error(self) -> RunError | None:
        return RunError(row=self.row) if self.row.error_code is not None else None

    erased_at: datetime | None = column(
        "erased_at",
        "When the payloads of the run were erased: input, output, metadata, tags, texts, logs and files. Null if they"
        " were not.",
    )

    @field("Whether the inputs and outputs of steps can be read.", "steps_purged_at", "started_at", written=STEP_DATA)
    def step_data(self) -> StepData:
        if self.row.steps_purged_at is not None:
            return StepData.PURGED
        return StepData.NOT_STARTED if self.row.started_at is None else StepData.AVAILABLE

    @field(
        "What the run waits for; null if it has ended, or a worker executes it.",
        *wait.COLUMNS,
        written=SameRow(WAIT_KIND),
    )
    def waiting_for(self) -> WaitingFor | None:
        return WaitingFor(row=self.row) if wait.wait_kind(self.row, clock.now()) is not None else None

    @field(
        "Milliseconds from `createdAt` to `startedAt`, or until now.",
        *("created_at", "started_at", "finished_at"),
        written=QUEUED,
    )
    def queued_ms(self) -> BigInt:
        end = self.row.started_at or self.row.finished_at
        return BigInt(clock.milliseconds_since(self.row.created_at, end))

    @field(
        "Milliseconds for which the run was RUNNING, including waits for a retry or a worker; 0 before the start.",
        *_RUNNING_COLUMNS,
        written=RUNNING,
    )
    def running_ms(self) -> BigInt:
        return BigInt(self._running_ms())

    @field("Milliseconds for which the run was PAUSED.", "started_at", *_RUNNING_COLUMNS, written=PAUSED)
    def paused_ms(self) -> BigInt:
        if self.row.started_at is None:
            return BigInt(0)
        lasted = clock.milliseconds_since(self.row.started_at, self.row.finished_at)
        return BigInt(max(lasted - self._running_ms(), 0))

    project_id: strawberry.ID = column(
        "project_id",
        "The ID of the project of the run.",
        convert=lambda key: ids.encode(IdKind.PROJECT, key),
        written=Key(IdKind.PROJECT.value, "project_id"),
    )
    flow_id: strawberry.ID = column(
        "flow_id",
        "The ID of the flow of the run.",
        convert=lambda key: ids.encode(IdKind.FLOW, key),
        written=Key(IdKind.FLOW.value, "flow_id"),
    )

    @field(
        "The path of the log as text, relative to the address of the service. The request needs the same API key.",
        "id",
        written=Key(IdKind.RUN.value, before="/runs/", after="/log"),
    )
    def log_url(self) -> str:
        return f"/runs/{ids.encode(IdKind.RUN, self.row.id)}/log"

    project: Project = link("The project of the run.", "project_id", projects.by_ids, "project")
    flow: Flow = link("The flow of the run.", "flow_id", flows.by_ids, "flow")
    flow_version: FlowVersion = link(
        "The version of the flow that the run executes.", "flow_version_id", flows.versions_by_ids, "flow_version"
    )
    steps: list[StepResult] = many(
        "The results of steps, in the order of the definition. Steps that did not begin have no result.",
        _STEPS,
        reads.steps_by_runs,
    )

    @field(
        "The result of the step with this name; null if the step has none.",
        written=One(Rows("step_result", {"run_id": "id"}), argument=("name", "name")),
    )
    async def step(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The step's name.")]
    ) -> StepResult | None:
        return await self._step(info, name)

    @field(
        "The result of the step at which the run failed; null if it failed outside of a step, or its data was purged.",
        "failed_step_name",
        written=One(Rows("step_result", {"run_id": "id", "name": "failed_step_name"})),
    )
    async def failed_step(self, info: Info) -> StepResult | None:
        name = self.row.failed_step_name
        return await self._step(info, name) if name is not None else None

    @field("Number of steps that have a result.", written=Count(_STEPS))
    async def steps_count(self, info: Info) -> int:
        return await info.context.loaders.load(reads.step_counts_by_runs, self.row.id) or 0

    status_history: list[StatusChange] = many(
        "The changes of the status, oldest first.",
        Rows("run_event", {"run_id": "id"}, order="seq", where={"kind": event_log.RUN_STATUS}),
        event_log.status_changes_by_runs,
        all_columns=True,
    )

    @field(
        "For each strategy, whether `retry` would succeed now, and which steps it would execute.", *retry.RUN_COLUMNS
    )
    async def retryability(
        self,
        info: Info,
        step_name: Annotated[
            str | None,
            strawberry.argument(
                description="The step for which FROM_STEP is judged. Default: the step at which the run ended."
            ),
        ] = None,
    ) -> list[Retryability]:
        options = await retry.retryability(info.context, self.row, step_name)
        return [Retryability(check=option) for option in options]

    @field("Whether `rerun` would succeed now, and which steps it would execute.", *retry.RUN_COLUMNS)
    async def rerunnability(
        self,
        info: Info,
        step_name: Annotated[
            str | None,
            strawberry.argument(
                description="The step at which the rerun starts. Default: all steps of the published version are "
                "executed."
            ),
        ] = None,
    ) -> StartCheck:
        return StartCheck(check=await rerun.rerunnability(info.context, self.row, step_name))

    @field(
        "Whether `completeStep` would succeed now, for which step, and which steps would be executed behind it.",
        *retry.RUN_COLUMNS,
    )
    async def completability(self, info: Info) -> Completability:
        step_name, check = await completion.completability(info.context, self.row)
        return Completability(check=check, step=step_name)

    pending_inputs: list[InputRequest] = many(
        "The open input requests of the run, oldest first. The run is PAUSED until they are answered.",
        Rows("input_request", {"run_id": "id"}, where={"status": InputRequestStatus.PENDING.value}),
        input_requests.pending_by_runs,
        all_columns=True,
    )
    input_requests: list[InputRequest] = many(
        "All input requests of the run, oldest first, also those that were answered, expired or were cancelled.",
        Rows("input_request", {"run_id": "id"}),
        input_requests.by_runs,
        all_columns=True,
    )
    retry_of: "FlowRun | None" = link(
        "The run that this run retries; null if this run is not a retry.", "retry_of_id", reads.by_ids, "flow_run"
    )
    retry_strategy: RetryStrategy | None = column(
        "retry_strategy",
        "Where the run began: the strategy of a retry, or FROM_STEP for a rerun from a step; null for other runs.",
        convert=RetryStrategy,
    )
    retry_step_name: str | None = column(
        "retry_step_name",
        "The step at which the run began, with the strategy FROM_STEP; null for other runs.",
    )
    first_run: "FlowRun | None" = link(
        "The first run of the operation that this run continues; the idempotency keys of steps contain its ID. "
        "Null if the run began an operation of its own.",
        "first_run_id",
        reads.by_ids,
        "flow_run",
    )
    rerun_of: "FlowRun | None" = link(
        "The run that this run executes again; null if this run is not a rerun.",
        "rerun_of_id",
        reads.by_ids,
        "flow_run",
    )
    recovered_by: "FlowRun | None" = link(
        "The successful retry of the run, direct or later in the chain; null if there is none.",
        "recovered_by_id",
        reads.by_ids,
        "flow_run",
    )
    parent_run: "FlowRun | None" = link(
        "The run that started this run; null if no run did.", "parent_run_id", reads.by_ids, "flow_run"
    )
    root_run: "FlowRun" = link(
        "The topmost ancestor; the run itself if it has no parent.", "root_run_id", reads.by_ids, "flow_run"
    )

    @field("The direct retries of the run, oldest first.", written=Paged(Rows("flow_run", {"retry_of_id": "id"})))
    async def retries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection["FlowRun"]:
        source = LinkedRuns(info.context, RETRIES, self.row.id)
        return await connect(info, FlowRun, source, PageArguments(first, after, last, before))

    @field("The direct reruns of the run, oldest first.", written=Paged(Rows("flow_run", {"rerun_of_id": "id"})))
    async def reruns(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection["FlowRun"]:
        source = LinkedRuns(info.context, RERUNS, self.row.id)
        return await connect(info, FlowRun, source, PageArguments(first, after, last, before))

    @field("The runs that this run started, oldest first.", written=Paged(Rows("flow_run", {"parent_run_id": "id"})))
    async def child_runs(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection["FlowRun"]:
        source = LinkedRuns(info.context, CHILDREN, self.row.id)
        return await connect(info, FlowRun, source, PageArguments(first, after, last, before))

    @field("The log of the run, in order. GET `/runs/<run ID>/log` returns all of it as text.")
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
        source = LogLines(info.context, self.row.id, logs.check_filter(step_name, level, search))
        return await connect(info, LogLine, source, PageArguments(first, after, last, before))

    files: list[RunFile] = many(
        "The files that steps of the run produced, oldest first.",
        Rows("run_file", {"run_id": "id"}, where={"purged_at": None}),
        files.by_runs,
    )

    def _running_ms(self) -> int:
        row = self.row
        if row.running_since is None:
            return row.ran_ms
        return row.ran_ms + clock.milliseconds_since(row.running_since, row.finished_at)

    async def _step(self, info: Info, name: str) -> StepResult | None:
        columns = columns_of(info, StepResult)
        row = await info.context.loaders.load(reads.steps_by_names, (self.row.id, name), columns)
        return StepResult(row=row) if row else None
