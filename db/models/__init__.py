"""The tables, one concept per file. Importing this package makes `metadata` complete."""

from sqlmodel import SQLModel

from db.models.api_key import ApiKey, CostBudget
from db.models.audit_event import AuditEvent
from db.models.bulk_operation import BulkOperation, BulkOutcome
from db.models.console.saved_view import SavedView
from db.models.flow import Flow, FlowVersion
from db.models.outbound.alert import Alert, AlertGroup, Notification
from db.models.outbound.delivery import Delivery, DeliveryAttempt
from db.models.outbound.endpoint import Endpoint, RelayState, RunCallback
from db.models.project import Project
from db.models.quota_use import QuotaUse
from db.models.revoked_token import RevokedToken
from db.models.runs.flow_run import FlowRun
from db.models.runs.input_request import InputRequest
from db.models.runs.run_event import EventLowWatermark, RunEvent
from db.models.runs.run_file import DeletedFile, RunFile, RunFileReference
from db.models.runs.run_log import RunLog
from db.models.runs.run_rollup import RUN_ROLLUP_DELTA, RunRollup, RunRollupState
from db.models.runs.step_result import StepAttempt, StepResult
from db.models.schedule import Schedule
from db.models.secret import RetiredSecret, Secret
from db.models.start_hold import StartHold
from db.models.webhook import Webhook
from db.models.worker import Worker

metadata = SQLModel.metadata

__all__ = [
    "RUN_ROLLUP_DELTA",
    "Alert",
    "AlertGroup",
    "ApiKey",
    "AuditEvent",
    "BulkOperation",
    "BulkOutcome",
    "CostBudget",
    "DeletedFile",
    "Delivery",
    "DeliveryAttempt",
    "Endpoint",
    "EventLowWatermark",
    "Flow",
    "FlowRun",
    "FlowVersion",
    "InputRequest",
    "Notification",
    "Project",
    "QuotaUse",
    "RelayState",
    "RetiredSecret",
    "RevokedToken",
    "RunCallback",
    "RunEvent",
    "RunFile",
    "RunFileReference",
    "RunLog",
    "RunRollup",
    "RunRollupState",
    "SavedView",
    "Schedule",
    "Secret",
    "StartHold",
    "StepAttempt",
    "StepResult",
    "Webhook",
    "Worker",
    "metadata",
]
