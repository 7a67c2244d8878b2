"""The enums of domain as GraphQL enums. Their docstrings are the descriptions.

The other modules of schema import enums from here, so that they are declared before they are used.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

import strawberry
from strawberry.types.enum import has_enum_definition

from domain import error_declarations, errors
from domain.actor import ActorKind
from domain.audit import AuditAction
from domain.bulk import BulkKind, BulkReason, BulkResult, BulkStatus
from domain.described_enum import DescribedEnum
from domain.enums import (
    AttemptStatus,
    Environment,
    InputRequestStatus,
    MissedFires,
    QueueGroup,
    QueuePriority,
    RetryStrategy,
    Role,
    RunStatus,
    ScheduleOverlap,
    SkipReason,
    StepStatus,
    TriggerMethod,
    WaitKind,
    WebhookSignature,
    WorkerStatus,
)
from domain.outbound.alert import AlertCondition, NotificationStatus
from domain.outbound.delivery import AttemptError, DeliveryStatus, DisabledReason, EventKind
from domain.quota import QuotaPeriod
from domain.runs.filter_field import Archived
from domain.runs.json_difference import JsonDifferenceKind
from domain.runs.run_filter import RunOrderField
from domain.runs.run_group import RunGroup
from domain.runs.run_log import LogLevel
from domain.time.time_buckets import BucketSize

_enum_of: Callable[..., Any] = Enum
"""`Enum` without its type, for which mypy would expect a literal list of members."""

ErrorCode = _enum_of(
    "ErrorCode",
    {
        error.code: strawberry.enum_value(error.code, description=error_declarations.default_message(error))
        for error in sorted(error_declarations.declared(errors.FlowRunsError), key=lambda declared: declared.code)
    },
)
"""The codes of all errors. In Python code an error code is text: pass `graphql_type=ErrorCode` to such a field."""


class StepData(DescribedEnum):
    """Whether the inputs and outputs of a run's steps can be read."""

    AVAILABLE = "AVAILABLE", "The step data can be read."
    NOT_STARTED = "NOT_STARTED", "No step has been executed yet."
    PURGED = "PURGED", "Retention has deleted the step data."


class OrderDirection(DescribedEnum):
    """The direction of an order."""

    ASC = "ASC", "Smallest or earliest first."
    DESC = "DESC", "Largest or latest first."


__all__ = [
    "ActorKind",
    "AlertCondition",
    "Archived",
    "AttemptError",
    "AttemptStatus",
    "AuditAction",
    "BucketSize",
    "BulkKind",
    "BulkReason",
    "BulkResult",
    "BulkStatus",
    "DeliveryStatus",
    "DisabledReason",
    "Environment",
    "ErrorCode",
    "EventKind",
    "InputRequestStatus",
    "JsonDifferenceKind",
    "LogLevel",
    "MissedFires",
    "NotificationStatus",
    "OrderDirection",
    "QueueGroup",
    "QueuePriority",
    "QuotaPeriod",
    "RetryStrategy",
    "Role",
    "RunGroup",
    "RunOrderField",
    "RunStatus",
    "ScheduleOverlap",
    "SkipReason",
    "StepData",
    "StepStatus",
    "TriggerMethod",
    "WaitKind",
    "WebhookSignature",
    "WorkerStatus",
]

_NAMES: dict[type[DescribedEnum], str] = {
    RunStatus: "FlowRunStatus",
    StepStatus: "StepStatus",
    AttemptStatus: "AttemptStatus",
    Environment: "RunEnvironment",
    InputRequestStatus: "InputRequestStatus",
    WaitKind: "WaitKind",
    TriggerMethod: "TriggerMethod",
    RetryStrategy: "RetryStrategy",
    MissedFires: "MissedFirePolicy",
    SkipReason: "ScheduleSkipReason",
    ScheduleOverlap: "ScheduleOverlap",
    WebhookSignature: "WebhookSignature",
    Role: "Role",
    LogLevel: "LogLevel",
    JsonDifferenceKind: "JsonDifferenceKind",
    Archived: "Archived",
    RunOrderField: "FlowRunOrderField",
    RunGroup: "FlowRunGroup",
    QuotaPeriod: "QuotaPeriod",
    StepData: "StepData",
    OrderDirection: "OrderDirection",
    BucketSize: "TimeBucketSize",
    BulkKind: "BulkKind",
    BulkStatus: "BulkStatus",
    BulkResult: "BulkResult",
    BulkReason: "BulkReason",
    ActorKind: "ActorKind",
    AuditAction: "AuditAction",
    EventKind: "EventKind",
    DeliveryStatus: "DeliveryStatus",
    DisabledReason: "EndpointDisabledReason",
    AttemptError: "DeliveryAttemptError",
    AlertCondition: "AlertCondition",
    NotificationStatus: "NotificationStatus",
    WorkerStatus: "WorkerStatus",
    QueuePriority: "QueuePriority",
    QueueGroup: "QueueGroup",
}

for _enum, _name in _NAMES.items():
    _declared = strawberry.enum(_enum, name=_name, description=_enum.__doc__)
    assert has_enum_definition(_declared)
    for _value in _declared.__strawberry_definition__.values:
        _value.description = _enum[_value.name].description
strawberry.enum(
    ErrorCode,
    description="Identifies an error, in the result of a mutation or in `extensions.code`. Codes never change.",
)
