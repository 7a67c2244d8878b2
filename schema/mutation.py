"""The root of mutations."""

from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db import flows as db_flows
from db import projects as db_projects
from db.runs import reads
from domain import ids
from domain.errors import (
    DefinitionInvalidError,
    FlowDisabledError,
    FlowNameTakenError,
    FlowNotFoundError,
    FlowNotPublishedError,
    IdempotencyConflictError,
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputInvalidError,
    InputRequestNotFoundError,
    InputTooLargeError,
    ParentNotLiveError,
    ProjectNotFoundError,
    ProjectRequiredError,
    QuotaExceededError,
    RetryLimitReachedError,
    RunNotCancellableError,
    RunNotFoundError,
    RunNotPausedError,
    RunNotRetryableError,
    SettingsInvalidError,
    StepDataExpiredError,
)
from domain.ids import IdKind
from domain.state_machine import FINAL, STOPS
from resolvers import cancel, flows, projects, resume, retry, runs, start
from schema.bulk_mutation import BulkMutation
from schema.enums import RetryStrategy, Role
from schema.fields import Info, columns_of
from schema.inputs import StartRunInput, UpdateProjectInput, given
from schema.roles import mutation
from schema.trigger_mutation import TriggerMutation
from schema.types.flow import Flow, FlowVersion
from schema.types.flow_run import FlowRun, StepResult
from schema.types.project import Project


def _arg(description: str) -> Any:
    return strawberry.argument(description=description)


@strawberry.type(description="The flow, created.")
class CreateFlowSuccess:
    """The flow, created."""

    flow: Flow = strawberry.field(description="The new flow.")


@strawberry.type(description="The flow, changed.")
class UpdateFlowSuccess:
    """The flow, changed."""

    flow: Flow = strawberry.field(description="The flow as it is now.")


@strawberry.type(description="The project, changed.")
class UpdateProjectSuccess:
    """The project, changed."""

    project: Project = strawberry.field(description="The project as it is now.")


@strawberry.type(description="The version, published.")
class PublishFlowVersionSuccess:
    """The version, published."""

    flow_version: FlowVersion = strawberry.field(description="The new version.")


@strawberry.type(description="The run, started.")
class StartRunSuccess:
    """The run, started."""

    run: FlowRun = strawberry.field(description="The new run, or the one that the idempotency key found.")


@strawberry.type(description="The new run, which retries the old one.")
class RetrySuccess:
    """The new run."""

    run: FlowRun = strawberry.field(description="The new run, or the one that the idempotency key found.")


@strawberry.type(description="The run, stopped.")
class CancelSuccess:
    """The run, stopped."""

    run: FlowRun = strawberry.field(description="The run as it is now.")


@strawberry.type(description="The run that goes on, and the step that asked.")
class ResumeRunSuccess:
    """The run that goes on."""

    run: FlowRun = strawberry.field(description="The run as it is now.")
    step: StepResult = strawberry.field(description="The step that asked.")


CreateFlowResult = Annotated[
    CreateFlowSuccess
    | FlowNameTakenError
    | DefinitionInvalidError
    | InputTooLargeError
    | ProjectRequiredError
    | ProjectNotFoundError,
    strawberry.union("CreateFlowResult", description="The flow, or why not."),
]
UpdateFlowResult = Annotated[
    UpdateFlowSuccess | FlowNotFoundError | FlowNameTakenError | SettingsInvalidError,
    strawberry.union("UpdateFlowResult", description="The flow, or why not."),
]
UpdateProjectResult = Annotated[
    UpdateProjectSuccess | ProjectRequiredError | ProjectNotFoundError | SettingsInvalidError,
    strawberry.union("UpdateProjectResult", description="The project, or why not."),
]
PublishFlowVersionResult = Annotated[
    PublishFlowVersionSuccess | FlowNotFoundError | DefinitionInvalidError | InputTooLargeError,
    strawberry.union("PublishFlowVersionResult", description="The version, or why not."),
]
StartRunResult = Annotated[
    StartRunSuccess
    | FlowNotFoundError
    | FlowNotPublishedError
    | FlowDisabledError
    | InputInvalidError
    | InputTooLargeError
    | RunNotFoundError
    | ParentNotLiveError
    | QuotaExceededError
    | IdempotencyConflictError,
    strawberry.union("StartRunResult", description="The run, or why not."),
]
RetryResult = Annotated[
    RetrySuccess
    | RunNotFoundError
    | RunNotRetryableError
    | RetryLimitReachedError
    | StepDataExpiredError
    | FlowNotPublishedError
    | FlowDisabledError
    | QuotaExceededError
    | IdempotencyConflictError,
    strawberry.union("RetryResult", description="The new run, or why not."),
]


CancelResult = Annotated[
    CancelSuccess | RunNotFoundError | RunNotCancellableError,
    strawberry.union("CancelResult", description="The run, or why not."),
]
ResumeRunResult = Annotated[
    ResumeRunSuccess
    | RunNotFoundError
    | RunNotPausedError
    | InputRequestNotFoundError
    | InputAlreadyAnsweredError
    | InputInvalidError
    | InputTooLargeError
    | InputExpiredError,
    strawberry.union("ResumeRunResult", description="The run and the step that asked, or why not."),
]


@strawberry.type(description="Writes.")
class Mutation(TriggerMutation, BulkMutation):
    """The root of mutations."""

    @mutation(Role.ADMIN, "Creates a flow, with its first version when a definition is given.")
    async def create_flow(
        self,
        info: Info,
        name: Annotated[str, _arg("Unique in the project; 1 to 200 characters.")],
        definition: Annotated[
            JSON | None, _arg("What the flow does; /schemas/flow-definition.json has its form.")
        ] = None,
        project_id: Annotated[strawberry.ID | None, _arg("For the operator's key: whose flow it will be.")] = None,
    ) -> CreateFlowResult:
        key = await flows.create(info.context, name, definition, project_id)
        return CreateFlowSuccess(flow=await _flow(info, key))

    @mutation(Role.ADMIN, "Renames, enables, disables or limits a flow. Runs that were started go on.")
    async def update_flow(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, _arg("The flow.")],
        name: Annotated[str | None, _arg("Its new name; left out, the name stays.")] = None,
        enabled: Annotated[bool | None, _arg("Whether runs of it can be started; left out, that stays.")] = None,
        max_concurrent_runs: Annotated[
            int | None,
            _arg("Runs of the flow that may be RUNNING at once, from 1; null for no limit; left out, it stays."),
        ] = strawberry.UNSET,
    ) -> UpdateFlowResult:
        values = {key: value for key, value in (("name", name), ("enabled", enabled)) if value is not None}
        key = await flows.update(info.context, flow_id, values | given(max_concurrent_runs=max_concurrent_runs))
        return UpdateFlowSuccess(flow=await _flow(info, key))

    @mutation(Role.ADMIN, "Changes the limits of a project. Runs that are RUNNING go on.")
    async def update_project(
        self,
        info: Info,
        input: Annotated[UpdateProjectInput, _arg("What is to change.")],  # noqa: A002
    ) -> UpdateProjectResult:
        key = await projects.update(info.context, input.project_id, input.values())
        columns = columns_of(info, Project, "project")
        row = await info.context.loaders.load_existing(db_projects.by_ids, key, columns)
        return UpdateProjectSuccess(project=Project(row=row))

    @mutation(Role.ADMIN, "Publishes a new version of a flow. Runs that were started keep theirs.")
    async def publish_flow_version(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, _arg("The flow.")],
        definition: Annotated[JSON, _arg("What the flow does; /schemas/flow-definition.json has its form.")],
    ) -> PublishFlowVersionResult:
        key = await flows.publish(info.context, flow_id, definition)
        columns = columns_of(info, FlowVersion, "flowVersion")
        row = await info.context.loaders.load_existing(db_flows.versions_by_ids, key, columns)
        return PublishFlowVersionSuccess(flow_version=FlowVersion(row=row))

    @mutation(Role.OPERATOR, "Starts a run of a flow's published version.")
    async def start_run(
        self,
        info: Info,
        input: Annotated[StartRunInput, _arg("Which run is wanted.")],  # noqa: A002
    ) -> StartRunResult:
        start.check_wait(input.wait_ms)
        key = await start.start_run(info.context, input.request())
        if input.wait_ms:
            await start.wait_for_stop(info.context, key, input.wait_ms, FINAL)
        return StartRunSuccess(run=await _run(info, key))

    @mutation(
        Role.OPERATOR,
        "Starts a new run that retries one which ended without success; the old run never changes. FROM_FAILED_STEP"
        " keeps the version and what succeeded, ON_LATEST_VERSION starts over on the published version.",
    )
    async def retry(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, _arg("The run to retry.")],
        strategy: Annotated[RetryStrategy, _arg("How the retry begins.")],
        idempotency_key: Annotated[
            str | None, _arg("Under one key a project starts one run; asking again returns it.")
        ] = None,
    ) -> RetryResult:
        return RetrySuccess(run=await _run(info, await retry.retry(info.context, run_id, strategy, idempotency_key)))

    @mutation(
        Role.OPERATOR,
        "Stops a run in any live status, and every live run below it. A call that is under way for it is aborted.",
    )
    async def cancel(self, info: Info, run_id: Annotated[strawberry.ID, _arg("The run to stop.")]) -> CancelResult:
        return CancelSuccess(run=await _run(info, await cancel.cancel(info.context, run_id)))

    @mutation(
        Role.OPERATOR,
        "Answers a question on which a run waits, so that it goes on. Of answers that race one wins. With `waitMs` the"
        " result comes when the run stops next, with its output if it has ended.",
    )
    async def resume_run(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, _arg("The run that waits.")],
        request_id: Annotated[strawberry.ID, _arg("The question, from `pendingInputs`.")],
        response: Annotated[JSON, _arg("The answer; must fit the question's schema.")],
        wait_ms: Annotated[int | None, _arg("Answer when the run stops next, or after so many milliseconds.")] = None,
    ) -> ResumeRunResult:
        start.check_wait(wait_ms)
        request = await resume.resume(info.context, run_id, request_id, response)
        if wait_ms:
            await start.wait_for_stop(info.context, request.run_id, wait_ms, STOPS)
        columns = columns_of(info, StepResult, "step")
        step = await info.context.loaders.load(reads.steps_by_names, (request.run_id, request.step_name), columns)
        assert step is not None  # it asked
        return ResumeRunSuccess(run=await _run(info, request.run_id), step=StepResult(row=step))


async def _flow(info: Info, key: UUID) -> Flow:
    columns = columns_of(info, Flow, "flow")
    return Flow(row=await info.context.loaders.load_existing(db_flows.by_ids, key, columns))


async def _run(info: Info, key: UUID) -> FlowRun:
    row = await runs.get(info.context, ids.encode(IdKind.RUN, key), columns_of(info, FlowRun, "run"))
    assert row is not None  # it was written a moment ago
    return FlowRun(row=row)
