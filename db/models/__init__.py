"""The tables, one a file. Importing this package makes `metadata` complete."""

from sqlmodel import SQLModel

from db.models.api_key import ApiKey
from db.models.bulk_operation import BulkOperation
from db.models.bulk_outcome import BulkOutcome
from db.models.event_low_watermark import EventLowWatermark
from db.models.flow import Flow
from db.models.flow_run import FlowRun
from db.models.flow_version import FlowVersion
from db.models.input_request import InputRequest
from db.models.project import Project
from db.models.quota_use import QuotaUse
from db.models.run_event import RunEvent
from db.models.run_file import RunFile
from db.models.run_log import RunLog
from db.models.schedule import Schedule
from db.models.step_attempt import StepAttempt
from db.models.step_result import StepResult
from db.models.webhook import Webhook

metadata = SQLModel.metadata

__all__ = [
    "ApiKey",
    "BulkOperation",
    "BulkOutcome",
    "EventLowWatermark",
    "Flow",
    "FlowRun",
    "FlowVersion",
    "InputRequest",
    "Project",
    "QuotaUse",
    "RunEvent",
    "RunFile",
    "RunLog",
    "Schedule",
    "StepAttempt",
    "StepResult",
    "Webhook",
    "metadata",
]
