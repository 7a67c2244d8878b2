"""The audit log: one event for each successful mutation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class AuditAction(StrEnum):
    """What was done: the mutation of the same name.

    The command line and the service itself record the same actions. Each successful mutation is one event, recorded in
    the transaction of its change. What changes nothing is none: a dry run, or a request that finds what an earlier one
    with its idempotency key has done.
    """

    CREATE_FLOW = "CREATE_FLOW"
    UPDATE_FLOW = "UPDATE_FLOW"
    PUBLISH_FLOW_VERSION = "PUBLISH_FLOW_VERSION"
    UPDATE_PROJECT = "UPDATE_PROJECT"
    CREATE_SCHEDULE = "CREATE_SCHEDULE"
    UPDATE_SCHEDULE = "UPDATE_SCHEDULE"
    DELETE_SCHEDULE = "DELETE_SCHEDULE"
    CREATE_WEBHOOK = "CREATE_WEBHOOK"
    ROTATE_WEBHOOK = "ROTATE_WEBHOOK"
    DELETE_WEBHOOK = "DELETE_WEBHOOK"
    CREATE_API_KEY = "CREATE_API_KEY"
    ROTATE_API_KEY = "ROTATE_API_KEY"
    REVOKE_API_KEY = "REVOKE_API_KEY"
    CREATE_SECRET = "CREATE_SECRET"  # noqa: S105 - an action
    ROTATE_SECRET = "ROTATE_SECRET"  # noqa: S105 - an action
    DELETE_SECRET = "DELETE_SECRET"  # noqa: S105 - an action
    START_RUN = "START_RUN"
    RETRY = "RETRY"
    RERUN = "RERUN"
    COMPLETE_STEP = "COMPLETE_STEP"
    CANCEL = "CANCEL"
    RESUME_RUN = "RESUME_RUN"
    BULK_CANCEL = "BULK_CANCEL"
    BULK_RETRY = "BULK_RETRY"
    BULK_ARCHIVE = "BULK_ARCHIVE"
    BULK_UNARCHIVE = "BULK_UNARCHIVE"
    CANCEL_BULK_OPERATION = "CANCEL_BULK_OPERATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """A filter of audit events. A field that is None restricts nothing; an empty list matches no event."""

    project_ids: Sequence[UUID] | None = None
    actions: Sequence[AuditAction] | None = None
    actor_ids: Sequence[UUID] | None = None
    object_ids: Sequence[UUID] | None = None
    """What was changed, or the flow to which that belongs."""
    request_ids: Sequence[str] | None = None
    created_after: datetime | None = None
    """Includes the instant."""
    created_before: datetime | None = None
    """Excludes the instant."""
