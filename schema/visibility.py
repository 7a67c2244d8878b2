"""The fields that restricted viewers cannot select: access tokens, and keys without access to payloads.

A document is judged as a whole before it is executed, except for fields that `@include` or `@skip` leaves out: so one
document can serve viewers with and without access to payloads. A token can select only the fields in this module: a
new field is out of its reach until it is listed.
"""

from collections.abc import Mapping
from typing import Any

from graphql import (
    SKIP,
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    ValueNode,
    VariableNode,
    Visitor,
    VisitorAction,
    visit,
)

from domain.errors import ForbiddenError
from resolvers.context import Viewer

_CONNECTION = "edges nodes pageInfo totalCount"
_EDGE = "node cursor"
_STATISTICS = "at total byStatus durations timeBuckets topFailingSteps"


def _names(fields: Mapping[str, str]) -> frozenset[str]:
    return frozenset(f"{type_}.{name}" for type_, names in fields.items() for name in names.split())


PAYLOADS = _names(
    {
        "FlowRun": "input output summary logs files",
        "StepResult": "input output",
        "RunComparison": "input output",
        "StepComparison": "input output",
        "StepError": "details",
        "StatusChange": "message",
        "InputRequest": "title description schema answer",
        "LogLine": "number at level stepName attempt message",
        "LogLinesAppended": "lines",
        "RunFile": "id name size mediaType stepName attempt createdAt url",
        "Schedule": "input",
        "DeliveryAttempt": "excerpt",
    }
)
"""Fields that show payloads. The message of a status change quotes input requests."""

IN_SCOPE = _names(
    {
        "Query": "viewer flowRun flowRuns flowRunStats pickers",
        "Viewer": "role limits",
        "Limits": "maxPageSize maxQueryDepth maxQueryCost maxInputBytes maxMetadataBytes maxDefinitionBytes maxTags"
        " maxBulkOperations maxWaitMs costPerMinute",
        "FlowRunConnection": _CONNECTION,
        "FlowRunEdge": _EDGE,
        "PageInfo": "hasNextPage hasPreviousPage startCursor endCursor",
        "FlowRun": "id summary status environment triggerMethod scheduledFor tags metadata input output failedStepName"
        " createdAt startedAt finishedAt updatedAt archivedAt attempt externalId flow steps statusHistory pendingInputs"
        " files durationMs error stepData step failedStep stepsCount logs",
        "Flow": "id name",
        "RunError": "code message stepName fingerprint",
        "StatusChange": "from to at",
        "StepResult": "name displayName kind status input output error startedAt finishedAt attempts durationMs",
        "StepAttempt": "number status startedAt finishedAt error durationMs",
        "StepError": "code message details",
        "InputRequest": "id stepName status title description schema createdAt expiresAt answeredAt",
        "LogLineConnection": _CONNECTION,
        "LogLineEdge": _EDGE,
        "LogLine": "number at level stepName attempt message",
        "RunFile": "id name size mediaType stepName attempt createdAt url",
        "FlowRunStats": _STATISTICS,
        "Pickers": "tags failedSteps errorCodes metadataKeys metadataValues",
        "PickerValues": "values isExact",
        "PickerValue": "value count",
        "PickerMetadataValues": "values isExact",
        "PickerMetadataValue": "value count",
        "StatusCount": "status count",
        "DurationStats": "count minMs maxMs meanMs p50Ms p90Ms p95Ms p99Ms",
        "TimeBucket": "start end total byStatus",
        "FailingStep": "stepName count flow errors",
        "StepErrorStats": "fingerprint count message lastSeenAt",
        "Subscription": "flowRunStatusChanged flowRunProgressed flowRunStatsChanged",
        "FlowRunStatusChanged": "cursor matches runId run status change",
        "FlowRunUpdated": "cursor matches runId run kind",
        "CaughtUp": "cursor",
        "StepChanged": "cursor stepName stepStatus runId stepChange attempt error step",
        "StepStatusChange": "from to at",
        "LogLinesAppended": "cursor runId lines",
    }
)
"""Fields that an access token can select, of the runs in its scope. No field leads from a run to another one."""


def check(
    schema: GraphQLSchema, document: DocumentNode, viewer: Viewer, variables: Mapping[str, Any] | None = None
) -> None:
    """Checks that the viewer may select all fields of the document, in any of its operations.

    Args:
        variables: The variables of the request, by which fields may be left out.

    Raises:
        ForbiddenError: the viewer may not see a field.
    """
    if viewer.payloads and viewer.scope is None:
        return
    types = TypeInfo(schema)
    visit(document, TypeInfoVisitor(types, _Guard(types, viewer, variables or {})))


class _Guard(Visitor):
    """Refuses fields that the viewer cannot select. Introspection is exempt: it shows the schema, which is public."""

    def __init__(self, types: TypeInfo, viewer: Viewer, variables: Mapping[str, Any]) -> None:
        super().__init__()
        self._types = types
        self._viewer = viewer
        self._variables = variables

    def enter_field(self, node: FieldNode, *_: object) -> VisitorAction:
        parent, name = self._types.get_parent_type(), node.name.value
        if name.startswith("__") or (parent is not None and parent.name.startswith("__")):
            return None
        if any(self._leaves_out(directive) for directive in node.directives or ()):
            return SKIP
        field = f"{parent.name}.{name}" if parent is not None else name
        if self._viewer.scope is not None and field not in IN_SCOPE:
            raise ForbiddenError(
                f"An access token cannot select `{field}`: it can see only runs that match its filter."
            )
        if not self._viewer.payloads and field in PAYLOADS:
            raise ForbiddenError(f"`{field}` needs a key with access to payloads.")
        return None

    def _leaves_out(self, directive: DirectiveNode) -> bool:
        """Returns True if the directive certainly leaves its field out. A default of a variable is not considered."""
        leaving = {"include": False, "skip": True}.get(directive.name.value)
        conditions = [argument.value for argument in directive.arguments or () if argument.name.value == "if"]
        return leaving is not None and any(self._value(condition) is leaving for condition in conditions)

    def _value(self, node: ValueNode) -> object:
        if isinstance(node, VariableNode):
            return self._variables.get(node.name.value)
        return node.value if isinstance(node, BooleanValueNode) else None
