"""Tests of the SDL: export, contract, descriptions and the explorer's examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    is_introspection_type,
    is_specified_scalar_type,
    parse,
    print_type,
    validate,
)

from domain import error_declarations, errors
from schema.build import SDL_FILE, sdl
from tests.resolvers.console import contract
from tests.schema import outbound_contract

EXAMPLES = sorted((Path(__file__).parents[2] / "web" / "src" / "graphiql" / "examples").glob("*.graphql"))

# The GraphQL contract, type by type.
CONTRACT = {
    **contract.TYPES,
    "Query": """node nodes viewer flow flows flowRun flowRuns flowRunStats bulkOperation bulkOperations secrets apiKeys
        auditEvents inputRequests schedules projects workers queues endpoints deliveries alerts validateFlowDefinition
        drain pickers compareRuns savedViews""",
    "Mutation": f"""createFlow updateFlow deleteFlow updateProject deleteProject holdFlow releaseFlow holdProject
        releaseProject publishFlowVersion startRun retry rerun completeStep cancel resumeRun updateRun
        createSchedule updateSchedule deleteSchedule createWebhook updateWebhook rotateWebhook deleteWebhook
        createSecret rotateSecret deleteSecret createSavedView updateSavedView deleteSavedView createAnswerLink
        bulkCancel bulkRetry bulkArchive bulkUnarchive bulkErase bulkDelete
        cancelBulkOperation createApiKey updateApiKey rotateApiKey revokeApiKey createAccessToken revokeAccessToken
        {outbound_contract.MUTATIONS}""",
    "BulkOperation": """id project kind status strategy stepName filter ignoredFilterFields excludedIds source
        requestedBy maxPerSecond spreadOverMs matched processed succeeded skipped failed reasons outcomes plan createdAt
        startedAt finishedAt""",
    "BulkOutcome": "runId run result reason plannedReason newRun dueAt at",
    "BulkPlan": "planId expiresAt eligible ineligible sample becameEligible becameIneligible",
    "BulkReasonCount": "reason count",
    "FlowRun": """id project flow flowVersion status environment triggerMethod tags metadata input output error
        failedStepName failedStep stepsCount steps step stepData statusHistory createdAt startedAt finishedAt updatedAt
        archivedAt durationMs parentRun childRuns failParentOnFailure rootRun retryOf retries recoveredBy attempt
        retryability rerunnability completability retryStrategy retryStepName firstRun rerunOf reruns pendingInputs
        inputRequests startedBy retriedBy cancelledBy archivedBy erasedAt logs files
        externalId source scheduledFor waitingFor queuedMs runningMs pausedMs flowId projectId logUrl note
        summary""",
    "StepResult": """run name displayName kind status input output error startedAt finishedAt durationMs attempts
        reusedFrom completedBy completionNote""",
    "Subscription": """flowRunStatusChanged flowRunProgressed flowRunStatsChanged bulkOperationProgressed
        inputRequestsChanged""",
    "StepChanged": "cursor runId stepName stepStatus stepChange attempt error step",
    "StepStatusChange": "from to at",
    "LogLinesAppended": "cursor runId lines",
    "BulkOperationProgressed": "cursor operationId operation counts",
    "BulkCounts": "status matched processed succeeded skipped failed",
    "FlowRunStatusChanged": "cursor matches runId status change run",
    "FlowRunUpdated": "cursor matches runId kind run",
    "FlowRunDeleted": "cursor matches runId at",
    "CaughtUp": "cursor",
    "FlowRunStats": "at total byStatus durations timeBuckets topFailingSteps groupBy failures",
    "DurationStats": "count minMs maxMs meanMs p50Ms p90Ms p95Ms p99Ms",
    "TimeBucket": "start end total byStatus",
    "FailingStep": "flow stepName count errors",
    "StepErrorStats": "fingerprint message count lastSeenAt sampleRun",
    "LogLine": "number at level stepName attempt message",
    "LogLineConnection": "edges nodes pageInfo totalCount",
    "RunFile": "id name size mediaType stepName attempt createdAt url",
    "InputRequest": """id status stepName title description schema assignee createdAt expiresAt answer answeredAt
        answeredBy run flow project""",
    "InputRequestChanged": "cursor matches requestId requestStatus runId at request",
    "InputRequestFilter": """projectIds ids runIds flowIds statuses assignees unassigned createdAfter createdBefore
        createdWithin olderThan expiresAfter expiresBefore expiresWithin""",
    "ApiKey": """id name role payloads costPerMinute hint project userId createdBy createdAt expiresAt lastUsedAt
        revokedAt replacesId""",
    "AuditEvent": "id action actor objectId flowId project requestId details createdAt",
    "AuditEventFilter": "actions actorIds objectIds projectIds requestIds createdAfter createdBefore",
    "ApiKeyConnection": "edges nodes pageInfo totalCount",
    "Worker": "id host processId version status concurrency executing free startedAt heartbeatAt runs",
    "WorkerConnection": "edges nodes pageInfo totalCount",
    "Queue": """project flow priority due oldestDueAt waitingForSlot oldestWaitingAt executing later nextDueAt
        maxConcurrentRuns slotsInUse""",
    "AuditEventConnection": "edges nodes pageInfo totalCount",
    "StepAttempt": "number status startedAt finishedAt error durationMs",
    "StepError": "code message details",
    "RunError": "code message stepName fingerprint",
    "StatusChange": "from to at message",
    "Retryability": """strategy allowed reason message reusedSteps rerunSteps reusedStepNames rerunStepNames
        reusedItems rerunItems""",
    "StartCheck": "allowed reason message reusedSteps rerunSteps reusedStepNames rerunStepNames",
    "Completability": "stepName allowed reason message reusedSteps rerunSteps reusedStepNames rerunStepNames",
    "Flow": """id name enabled maxConcurrentRuns hold createdAt updatedAt deletingSince project publishedVersion
        schedules webhooks lastRun runs stats versions""",
    "FlowDefinitionCheck": "isValid problems warnings steps",
    "StepDefinition": "position name displayName kind when input maxAttempts timeoutSeconds continueOnFailure",
    "ScheduleFilter": "projectIds flowIds enabled",
    "Schedule": """id flow name enabled cron description warnings timeZone missedFires overlap environment tags metadata
        input nextFireAt nextFires lastFiredAt lastSkippedAt lastSkippedReason createdAt updatedAt runs""",
    "Webhook": """id flow name hint environment signature signatureHeader input respond acceptsGet exposedHeaders
        callsPerMinute createdAt rotatedAt runs""",
    "Secret": "id name environment createdAt changedAt changedBy isReadable",
    "FlowVersion": "id number stepCount definition createdAt steps flow",
    "Project": """id name retryLimit maxConcurrentRuns quotaRuns quotaPeriod quotaUsed quotaResetsAt retentionDays
        hold runRetention archiveSucceededAfterDays expiredRuns createdAt deletingSince secrets""",
    "RunRetention": "status days",
    "ExpiredRuns": "toDelete toArchive",
    "DeleteFlowSuccess": "flow runs liveRuns flowVersions schedules webhooks",
    "DeleteProjectSuccess": """project runs liveRuns flows flowVersions schedules webhooks endpoints alerts secrets
        apiKeys bulkOperations""",
    "QuotaExceeded": "code message run",
    "SettingsInvalid": "code message problems",
    "UpdateProjectInput": """projectId maxConcurrentRuns quotaRuns quotaPeriod retryLimit retentionDays runRetention
        archiveSucceededAfterDays""",
    "RunRetentionInput": "status days",
    "Viewer": "keyName role project userId grantedProjects payloads limits",
    "FlowRunConnection": "edges nodes pageInfo totalCount",
    "FlowConnection": "edges nodes pageInfo totalCount",
    "FlowRunEdge": "node cursor",
    "PageInfo": "hasNextPage hasPreviousPage startCursor endCursor",
    "FlowRunFilter": """projectIds ids flowIds flowVersionIds statuses waitingFor environments tags anyTags
        failedStepName errorContains search errorFingerprint triggerMethods externalIds sources scheduleIds webhookIds
        createdAfter createdBefore startedAfter startedBefore finishedAfter finishedBefore updatedAfter updatedBefore
        createdWithin startedWithin finishedWithin updatedWithin minDurationMs maxDurationMs metadata metadataConditions
        parentRunId rootRunId rootsOnly retryOfId rerunOfId unrecovered archived includeArchived not or""",
    "MetadataCondition": "path exists equals in prefix greaterThan atLeast lessThan atMost",
    "FlowFilter": "projectIds ids nameContains enabled published held",
    "StartRunInput": """flowId input environment tags metadata triggerMethod parentRunId failParentOnFailure externalId
        source idempotencyKey waitMs callbackUrl""",
    **outbound_contract.TYPES,
}
ARGUMENTS = {
    **contract.ARGUMENTS,
    "Query.node": "id",
    "Query.nodes": "ids",
    "Query.flow": "id",
    "Query.flowRun": "id",
    "Query.flows": "filter first after last before",
    "Query.flowRunStats": "filter",
    "InputRequestConnection.totalCount": "limit",
    "Schedule.runs": "first after last before",
    "Webhook.runs": "first after last before",
    "Query.validateFlowDefinition": "definition",
    "Query.schedules": "filter first after last before",
    "Query.projects": "first after last before",
    "Flow.lastRun": "filter",
    "Flow.runs": "filter first after last before",
    "Flow.stats": "filter",
    "Flow.versions": "first after last before",
    **{f"{name}Connection.totalCount": "limit" for name in ("FlowVersion", "Schedule", "Project")},
    "FlowRunStats.groupBy": "by first",
    "FlowRunStats.failures": "first",
    "FlowRunStats.timeBuckets": "size from to timeZone",
    "FlowRunStats.topFailingSteps": "first",
    "FailingStep.errors": "first",
    "Query.flowRuns": "filter orderBy first after last before",
    "FlowRun.retryability": "stepName",
    "FlowRun.rerunnability": "stepName",
    "FlowRun.reruns": "first after last before",
    "FlowRun.step": "name",
    "FlowRun.childRuns": "first after last before",
    "FlowRun.retries": "first after last before",
    "FlowRun.logs": "first after last before stepName level search",
    "LogLineConnection.totalCount": "limit",
    "FlowRunConnection.totalCount": "limit",
    "FlowConnection.totalCount": "limit",
    "Mutation.createFlow": "name definition projectId",
    "Mutation.updateRun": "runId tags addTags removeTags metadata note",
    "Mutation.updateFlow": "flowId name enabled maxConcurrentRuns",
    "Mutation.updateProject": "input",
    "Mutation.deleteFlow": "flowId dryRun",
    "Mutation.deleteProject": "projectId dryRun",
    "Project.expiredRuns": "runRetention archiveSucceededAfterDays",
    "Mutation.publishFlowVersion": "flowId definition",
    "Mutation.startRun": "input",
    "Mutation.retry": "runId strategy stepName input idempotencyKey force callbackUrl",
    "Mutation.rerun": "runId flowVersionId stepName input idempotencyKey force callbackUrl",
    "Mutation.completeStep": "runId stepName output skip note idempotencyKey force",
    "Mutation.cancel": "runId includeDescendants",
    "Mutation.resumeRun": "runId requestId response waitMs idempotencyKey",
    "Mutation.createSchedule": "input",
    "Mutation.updateSchedule": "input",
    "Mutation.deleteSchedule": "id cancelBacklog",
    "Mutation.createWebhook": """flowId name environment signature signatureHeader signatureSecret input respond
        acceptsGet exposedHeaders callsPerMinute""",
    "Mutation.updateWebhook": "id name callsPerMinute",
    "Mutation.rotateWebhook": "id",
    "Mutation.deleteWebhook": "id",
    "Query.secrets": "projectId",
    "Mutation.createSecret": "name value environment projectId",
    "Mutation.rotateSecret": "id value",
    "Mutation.deleteSecret": "id",
    "Mutation.bulkCancel": "filter excludeIds dryRun planId idempotencyKey waitMs",
    "Mutation.bulkRetry": """filter excludeIds strategy stepName failedOf spreadOverMs maxPerSecond dryRun planId
        idempotencyKey waitMs""",
    "Mutation.bulkArchive": "filter excludeIds dryRun planId idempotencyKey waitMs",
    "Mutation.bulkUnarchive": "filter excludeIds operationId dryRun planId idempotencyKey waitMs",
    "Mutation.bulkErase": "filter excludeIds dryRun planId idempotencyKey waitMs",
    "Mutation.bulkDelete": "filter excludeIds dryRun planId idempotencyKey waitMs",
    "Mutation.cancelBulkOperation": "id",
    "Mutation.createApiKey": "name role expiresAt expiresIn projectId allProjects payloads costPerMinute",
    "Mutation.updateApiKey": "id name costPerMinute",
    "Mutation.holdFlow": "flowId reason",
    "Mutation.releaseFlow": "flowId",
    "Mutation.holdProject": "projectId reason",
    "Mutation.releaseProject": "projectId",
    "Mutation.rotateApiKey": "id overlap expiresAt expiresIn",
    "Mutation.revokeApiKey": "id",
    "Mutation.createAccessToken": "filter expiresIn payloads",
    "Mutation.revokeAccessToken": "token",
    "Query.apiKeys": "active first after last before",
    "Query.auditEvents": "filter first after last before",
    "ApiKeyConnection.totalCount": "limit",
    "Query.queues": "by projectIds first",
    "Query.workers": "statuses first after last before",
    "Worker.runs": "first",
    "WorkerConnection.totalCount": "limit",
    "AuditEventConnection.totalCount": "limit",
    "Query.bulkOperation": "id",
    "Query.bulkOperations": "first after last before includePlans",
    "BulkOperation.outcomes": "result reason first after last before",
    "BulkOperationConnection.totalCount": "limit",
    "BulkOutcomeConnection.totalCount": "limit",
    "Subscription.bulkOperationProgressed": "id after",
    "Schedule.nextFires": "count",
    "Subscription.flowRunStatusChanged": "filter after",
    "Subscription.flowRunProgressed": "runId after",
    "Subscription.flowRunStatsChanged": "filter",
    "Subscription.inputRequestsChanged": "filter after",
    **outbound_contract.ARGUMENTS,
}
VALUES = {
    **contract.VALUES,
    "FlowRunStatus": "QUEUED RUNNING PAUSED SUCCEEDED FAILED TIMEOUT QUOTA_EXCEEDED INTERNAL_ERROR STOPPED",
    "StepStatus": "PENDING RUNNING SUCCEEDED FAILED PAUSED SKIPPED STOPPED",
    "RunEnvironment": "PRODUCTION TESTING",
    "TriggerMethod": "API MANUAL SCHEDULE WEBHOOK PARENT RETRY RERUN",
    "FlowRunGroup": "FLOW VERSION TRIGGER TAG ERROR",
    "QueueGroup": "FLOW PROJECT PRIORITY",
    "QueuePriority": "INTERACTIVE STARTED NEW",
    "WorkerStatus": "ACTIVE DRAINING LOST",
    "InputRequestStatus": "PENDING ANSWERED EXPIRED CANCELLED",
    "WaitKind": "PERSON TIME CHILDREN RETRY SLOT RELEASE WORKER",
    "StepData": "AVAILABLE NOT_STARTED PURGED",
    "RetryStrategy": "FROM_FAILED_STEP ON_LATEST_VERSION FROM_FAILED_STEP_ON_LATEST_VERSION FROM_STEP",
    "FlowRunOrderField": "CREATED_AT STARTED_AT FINISHED_AT DURATION UPDATED_AT",
    "OrderDirection": "ASC DESC",
    "TimeBucketSize": "MINUTE HOUR DAY",
    "Archived": "EXCLUDE INCLUDE ONLY",
    "QuotaPeriod": "HOUR DAY MONTH",
    "FlowRunUpdateKind": "ARCHIVED UNARCHIVED RECOVERED CHANGED ERASED",
    "Role": "VIEWER OPERATOR ADMIN",
    "BulkKind": "CANCEL RETRY ARCHIVE UNARCHIVE ERASE DELETE",
    "BulkStatus": "PREPARING PLANNED RUNNING COMPLETED CANCELLED FAILED",
    "BulkResult": "PENDING SUCCEEDED SKIPPED FAILED",
    "BulkReason": """RUN_NOT_FOUND RUN_NOT_CANCELLABLE RUN_NOT_RETRYABLE RETRY_UNDER_WAY ALREADY_RECOVERED
        RETRIED_SINCE COVERED_BY_PARENT RETRY_LIMIT_REACHED STEP_DATA_EXPIRED STEP_NOT_REACHED
        FLOW_DISABLED FLOW_NOT_PUBLISHED QUOTA_EXCEEDED RUN_NOT_FINAL FAMILY_NOT_FINAL RUN_ALREADY_ERASED
        RUN_ALREADY_ARCHIVED RUN_NOT_ARCHIVED RUN_CHANGED_SINCE INTERNAL_ERROR""",
    "ActorKind": "API_KEY USER SCHEDULE WEBHOOK PARENT_RUN ANSWER_LINK CLI SYSTEM",
    "AuditAction": f"""CREATE_FLOW UPDATE_FLOW DELETE_FLOW HOLD_FLOW RELEASE_FLOW PUBLISH_FLOW_VERSION UPDATE_PROJECT
        DELETE_PROJECT HOLD_PROJECT RELEASE_PROJECT DRAIN UNDRAIN CREATE_SCHEDULE UPDATE_SCHEDULE DELETE_SCHEDULE
        CREATE_WEBHOOK UPDATE_WEBHOOK ROTATE_WEBHOOK DELETE_WEBHOOK CREATE_API_KEY UPDATE_API_KEY ROTATE_API_KEY
        REVOKE_API_KEY CREATE_ACCESS_TOKEN REVOKE_ACCESS_TOKEN CREATE_ANSWER_LINK CREATE_SECRET ROTATE_SECRET
        DELETE_SECRET CREATE_SAVED_VIEW UPDATE_SAVED_VIEW DELETE_SAVED_VIEW {outbound_contract.AUDIT_ACTIONS} START_RUN
        RETRY RERUN COMPLETE_STEP CANCEL RESUME_RUN UPDATE_RUN BULK_CANCEL BULK_RETRY BULK_ARCHIVE BULK_UNARCHIVE
        BULK_ERASE BULK_DELETE CANCEL_BULK_OPERATION ARCHIVE_RUNS DELETE_RUNS SIGN_IN SIGN_OUT""",
    "MissedFirePolicy": "SKIP FIRE_ONCE FIRE_ALL",
    "ScheduleSkipReason": """MISSED FLOW_DISABLED FLOW_NOT_PUBLISHED OVERLAP INPUT_INVALID SCHEDULE_INVALID
        INTERNAL_ERROR""",
    **outbound_contract.VALUES,
}
UNIONS = {
    **contract.UNIONS,
    "CreateFlowResult": """CreateFlowSuccess FlowNameTaken DefinitionInvalid InputTooLarge ProjectRequired
        ProjectNotFound""",
    "UpdateFlowResult": "UpdateFlowSuccess FlowNotFound FlowNameTaken SettingsInvalid",
    "UpdateRunResult": "UpdateRunSuccess RunNotFound InputTooLarge",
    "DeleteFlowResult": "DeleteFlowSuccess FlowNotFound RunsNotFinal",
    "DeleteProjectResult": "DeleteProjectSuccess ProjectNotFound RunsNotFinal",
    "UpdateProjectResult": "UpdateProjectSuccess ProjectRequired ProjectNotFound SettingsInvalid",
    "HoldFlowResult": "HoldFlowSuccess FlowNotFound",
    "ReleaseFlowResult": "ReleaseFlowSuccess FlowNotFound",
    "HoldProjectResult": "HoldProjectSuccess ProjectRequired ProjectNotFound",
    "ReleaseProjectResult": "ReleaseProjectSuccess ProjectRequired ProjectNotFound",
    "PublishFlowVersionResult": "PublishFlowVersionSuccess FlowNotFound DefinitionInvalid InputTooLarge",
    "StartRunResult": """StartRunSuccess FlowNotFound FlowNotPublished FlowDisabled InputInvalid InputTooLarge
        RunNotFound ParentNotLive QuotaExceeded IdempotencyConflict CallbackEndpointMissing SecretKeysMissing""",
    "RetryResult": """RetrySuccess RunNotFound RunNotRetryable RetryUnderWay AlreadyRecovered RetriedSince
        RetryLimitReached StepDataExpired StepNotReached InputInvalid InputTooLarge FlowNotPublished
        FlowDisabled QuotaExceeded IdempotencyConflict CallbackEndpointMissing SecretKeysMissing""",
    "RerunResult": """RerunSuccess RunNotFound RunNotFinal RerunUnderWay StepDataExpired StepNotReached InputInvalid
        InputTooLarge FlowNotPublished FlowDisabled QuotaExceeded IdempotencyConflict CallbackEndpointMissing
        SecretKeysMissing""",
    "CompleteStepResult": """CompleteStepSuccess RunNotFound RunNotRetryable RetryUnderWay AlreadyRecovered RetriedSince
        RetryLimitReached StepDataExpired StepNotFailed InputTooLarge FlowDisabled QuotaExceeded
        SecretKeysMissing IdempotencyConflict""",
    "CancelResult": "CancelSuccess RunNotFound RunNotCancellable",
    "ResumeRunResult": """ResumeRunSuccess RunNotFound RunNotPaused InputRequestNotFound InputAlreadyAnswered
        InputInvalid InputTooLarge InputExpired IdempotencyConflict""",
    "CreateScheduleResult": "CreateScheduleSuccess FlowNotFound ScheduleInvalid InputInvalid InputTooLarge",
    "UpdateScheduleResult": "UpdateScheduleSuccess ScheduleNotFound ScheduleInvalid InputInvalid InputTooLarge",
    "DeleteScheduleResult": "DeleteScheduleSuccess ScheduleNotFound",
    "CreateWebhookResult": "CreateWebhookSuccess FlowNotFound WebhookInvalid InputTooLarge SecretKeysMissing",
    "UpdateWebhookResult": "UpdateWebhookSuccess WebhookNotFound SettingsInvalid",
    "RotateWebhookResult": "RotateWebhookSuccess WebhookNotFound",
    "DeleteWebhookResult": "DeleteWebhookSuccess WebhookNotFound",
    "CreateSecretResult": """CreateSecretSuccess SecretNameTaken SecretInvalid SecretKeysMissing ProjectRequired
        ProjectNotFound""",
    "RotateSecretResult": "RotateSecretSuccess SecretNotFound SecretInvalid SecretKeysMissing",
    "DeleteSecretResult": "DeleteSecretSuccess SecretNotFound",
    "BulkCancelResult": """BulkCancelSuccess EmptyFilter ProjectNotFound PlanNotFound PlanMismatch PlanExpired
        PlanUsed TooManyBulkOperations IdempotencyConflict""",
    "BulkArchiveResult": """BulkArchiveSuccess EmptyFilter ProjectNotFound PlanNotFound PlanMismatch PlanExpired
        PlanUsed TooManyBulkOperations IdempotencyConflict""",
    "BulkEraseResult": """BulkEraseSuccess EmptyFilter ProjectNotFound PlanNotFound PlanMismatch PlanExpired
        PlanUsed TooManyBulkOperations IdempotencyConflict""",
    "BulkDeleteResult": """BulkDeleteSuccess EmptyFilter ProjectNotFound PlanNotFound PlanMismatch PlanExpired
        PlanUsed TooManyBulkOperations IdempotencyConflict""",
    "BulkRetryResult": """BulkRetrySuccess EmptyFilter ProjectNotFound PlanNotFound PlanMismatch PlanExpired
        PlanUsed TooManyBulkOperations IdempotencyConflict
        BulkOperationNotFound BulkOperationMismatch BulkOperationNotEnded""",
    "BulkUnarchiveResult": """BulkUnarchiveSuccess EmptyFilter ProjectNotFound PlanNotFound PlanMismatch PlanExpired
        PlanUsed TooManyBulkOperations IdempotencyConflict
        BulkOperationNotFound BulkOperationMismatch BulkOperationNotEnded""",
    "CreateAccessTokenResult": "CreateAccessTokenSuccess EmptyFilter PrivilegeExceeded TokenKeysMissing",
    "RevokeAccessTokenResult": "RevokeAccessTokenSuccess AccessTokenNotFound",
    "CreateApiKeyResult": "CreateApiKeySuccess PrivilegeExceeded ProjectRequired ProjectNotFound SettingsInvalid",
    "UpdateApiKeyResult": "UpdateApiKeySuccess ApiKeyNotFound ApiKeyNotActive PrivilegeExceeded SettingsInvalid",
    "RotateApiKeyResult": "RotateApiKeySuccess ApiKeyNotFound ApiKeyNotActive PrivilegeExceeded",
    "RevokeApiKeyResult": "RevokeApiKeySuccess ApiKeyNotFound ApiKeyNotActive PrivilegeExceeded",
    "CancelBulkOperationResult": "CancelBulkOperationSuccess BulkOperationNotFound BulkOperationEnded",
    **outbound_contract.UNIONS,
}


STREAMED = {
    "FlowRunStatusEvent": "FlowRunStatusChanged FlowRunUpdated FlowRunDeleted CaughtUp",
    "InputRequestEvent": "InputRequestChanged CaughtUp",
}


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(SDL_FILE.read_text())


def fields_of(schema: GraphQLSchema, name: str) -> Any:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLObjectType | GraphQLInputObjectType | GraphQLInterfaceType)
    return found.fields


def unions_of(schema: GraphQLSchema) -> list[GraphQLUnionType]:
    """Returns the result unions of mutations."""
    unions = [found for found in schema.type_map.values() if isinstance(found, GraphQLUnionType)]
    return [union for union in unions if union.name.endswith("Result")]


def test_exported_schema_is_current() -> None:
    assert SDL_FILE.read_text() == sdl(), "run: python -m service schema > schema/schema.graphql"


@pytest.mark.parametrize("name", CONTRACT)
def test_type_has_fields_of_contract(schema: GraphQLSchema, name: str) -> None:
    assert set(fields_of(schema, name)) == set(CONTRACT[name].split())


def test_fields_have_arguments_of_contract(schema: GraphQLSchema) -> None:
    found = {
        f"{kind.name}.{name}": set(field.args)
        for kind in schema.type_map.values()
        if isinstance(kind, GraphQLObjectType) and not is_introspection_type(kind)
        for name, field in kind.fields.items()
        if field.args
    }
    assert found == {name: set(arguments.split()) for name, arguments in ARGUMENTS.items()}


@pytest.mark.parametrize("name", VALUES)
def test_enum_has_values_of_contract(schema: GraphQLSchema, name: str) -> None:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLEnumType)
    assert list(found.values) == VALUES[name].split()


def test_mutations_return_unions_of_contract(schema: GraphQLSchema) -> None:
    found = {union.name: {member.name for member in union.types} for union in unions_of(schema)}
    assert found == {name: set(members.split()) for name, members in UNIONS.items()}


def test_every_union_member_is_success_or_user_error(schema: GraphQLSchema) -> None:
    user_error = schema.type_map["UserError"]
    for union in unions_of(schema):
        first, *refusals = union.types
        assert first.name == union.name.replace("Result", "Success")
        assert all(user_error in refusal.interfaces for refusal in refusals)


def test_unions_contain_every_user_error(schema: GraphQLSchema) -> None:
    members = {member.name for union in unions_of(schema) for member in union.types}
    raised = {kind.__name__.removesuffix("Error") for kind in leaves(errors.UserError)}
    assert raised <= members


@pytest.mark.parametrize("error", list(error_declarations.declared(errors.UserError)), ids=lambda error: error.__name__)
def test_error_type_derives_from_its_class(schema: GraphQLSchema, error: type[errors.UserError]) -> None:
    error_type = schema.type_map[error.__name__.removesuffix("Error")]
    assert error_type.description == error_declarations.default_message(error)
    fields = {name.removesuffix("_id") for name in error_declarations.fields_of(error)}
    assert set(fields_of(schema, error_type.name)) == {"code", "message", *fields}
    error_code = schema.type_map["ErrorCode"]
    assert isinstance(error_code, GraphQLEnumType)
    assert error_code.values[error.code].description == error_type.description


def leaves(kind: type) -> Iterator[type]:
    children: list[type] = kind.__subclasses__()
    for child in children:
        yield from leaves(child)
    if not children:
        yield kind


def test_schema_contains_every_error_code(schema: GraphQLSchema) -> None:
    found = schema.type_map["ErrorCode"]
    assert isinstance(found, GraphQLEnumType)
    assert set(found.values) == {error.code for error in error_declarations.declared(errors.FlowRunsError)}


def test_every_type_field_and_argument_has_description(schema: GraphQLSchema) -> None:
    undescribed = [name for kind in schema.type_map.values() if not built_in(kind) for name in bare_names(kind)]
    assert undescribed == []


def built_in(kind: GraphQLNamedType) -> bool:
    return is_introspection_type(kind) or is_specified_scalar_type(kind)


def bare_names(kind: GraphQLNamedType) -> Iterator[str]:
    """Yields the type, fields and arguments that lack a description; enum values need none."""
    if not kind.description:
        yield kind.name
    for name, field in getattr(kind, "fields", {}).items():
        if not field.description:
            yield f"{kind.name}.{name}"
        for argument, about in getattr(field, "args", {}).items():
            if not about.description:
                yield f"{kind.name}.{name}({argument})"


def test_every_enum_value_has_a_description(schema: GraphQLSchema) -> None:
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLEnumType) and not kind.name.startswith("__"):
            assert [name for name, value in kind.values.items() if not value.description] == [], kind.name


def test_no_description_has_line_breaks_of_the_source(schema: GraphQLSchema) -> None:
    assert [name for name, kind in schema.type_map.items() if "\n " in (kind.description or "")] == []


def test_node_types_are_those_with_typed_id(schema: GraphQLSchema) -> None:
    node = schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    found = {kind.name for kind in schema.get_possible_types(node)}
    assert found == {
        *("Project", "Flow", "FlowVersion", "FlowRun", "RunFile", "Schedule", "Webhook", "Secret", "BulkOperation"),
        *("InputRequest", "Worker", "Endpoint", "Delivery", "Alert", "Notification", "SavedView"),
    }


def test_relay_types_follow_specification(schema: GraphQLSchema) -> None:
    page_info = {name: str(field.type) for name, field in fields_of(schema, "PageInfo").items()}
    assert page_info == {
        "hasNextPage": "Boolean!",
        "hasPreviousPage": "Boolean!",
        "startCursor": "String",
        "endCursor": "String",
    }
    assert "edges: [FlowRunEdge!]!" in print_type(schema.type_map["FlowRunConnection"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_explorer_example_is_valid(schema: GraphQLSchema, example: Path) -> None:
    assert validate(schema, parse(example.read_text())) == []


@pytest.mark.parametrize("name", STREAMED)
def test_subscriptions_return_unions_of_contract(schema: GraphQLSchema, name: str) -> None:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLUnionType)
    assert {each.name for each in found.types} == set(STREAMED[name].split())
