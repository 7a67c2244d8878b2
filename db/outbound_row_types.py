"""The types of the rows of what the service sends to others: like those of `db.row_types`, one for each table."""

from datetime import datetime
from typing import Protocol
from uuid import UUID


class EndpointRow(Protocol):
    """A row of `endpoint`."""

    id: UUID
    project_id: UUID
    name: str
    url: str | None
    url_key_id: str | None
    url_sealed: str | None
    run_filter: str
    kinds: str
    payloads: bool
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    key_id: str
    sealed: str
    old_key_id: str | None
    old_sealed: str | None
    old_until: datetime | None
    after_seq: int
    created_at: datetime
    changed_at: datetime
    changed_by: str


class DeliveryRow(Protocol):
    """A row of `delivery`."""

    id: UUID
    project_id: UUID
    endpoint_id: UUID
    lane: UUID
    kind: str
    event_seq: int | None
    run_id: UUID | None
    callback_run_id: UUID | None
    request_id: UUID | None
    from_status: str | None
    to_status: str | None
    at: datetime
    status: str
    attempts: int
    failures: int
    try_until: datetime
    due_at: datetime | None
    lease_token: UUID | None
    response_status: int | None
    created_at: datetime
    ended_at: datetime | None


class DeliveryAttemptRow(Protocol):
    """A row of `delivery_attempt`."""

    delivery_id: UUID
    number: int
    started_at: datetime
    duration_ms: int
    response_status: int | None
    error: str | None
    message: str | None
    excerpt: str | None


class AlertRow(Protocol):
    """A row of `alert`."""

    id: UUID
    project_id: UUID
    name: str
    run_filter: str
    condition: str
    threshold: int | None
    quiet_seconds: int
    enabled: bool
    hint: str
    key_id: str
    sealed: str
    after_seq: int
    created_at: datetime
    changed_at: datetime
    changed_by: str


class NotificationRow(Protocol):
    """A row of `notification`."""

    id: UUID
    project_id: UUID
    alert_id: UUID
    is_test: bool
    flow_id: UUID | None
    run_id: UUID | None
    endpoint_id: UUID | None
    count: int
    first_at: datetime
    last_at: datetime
    status: str
    attempts: int
    message: str | None
    due_at: datetime | None
    lease_token: UUID | None
    created_at: datetime
    ended_at: datetime | None
