"""The types of the rows that reads return, one for each table.

A row is a row of SQLAlchemy, with the selected columns as attributes: a read that takes `columns` selects those and the
keys that its docstring names, and any other attribute raises AttributeError. A test compares the types with the tables.
"""

from datetime import datetime
from typing import Protocol
from uuid import UUID


class RunRow(Protocol):
    """A row of `flow_run`."""

    id: UUID
    project_id: UUID
    flow_id: UUID
    flow_version_id: UUID
    status: str
    environment: str
    trigger_method: str
    scheduled_for: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    archived_at: datetime | None
    archive_operation_id: UUID | None
    duration_ms: int | None
    started_by: str | None
    retried_by: str | None
    cancelled_by: str | None
    archived_by: str | None
    parent_run_id: UUID | None
    root_run_id: UUID
    depth: int
    parent_position: int | None
    parent_attempt: int | None
    item_index: int | None
    fail_parent_on_failure: bool
    retry_of_id: UUID | None
    retry_strategy: str | None
    retry_step_name: str | None
    first_run_id: UUID | None
    rerun_of_id: UUID | None
    attempt: int
    retry_operation_id: UUID | None
    recovered_by_id: UUID | None
    failed_step_name: str | None
    error_code: str | None
    error_message: str | None
    error_fingerprint: str | None
    external_id: str | None
    source: str | None
    idempotency_key: str | None
    request_hash: str | None
    due_at: datetime | None
    priority: int
    blocked_since: datetime | None
    blocked_by: UUID | None
    waits_for: str | None
    lease_token: UUID | None
    interruptions: int
    running_since: datetime | None
    ran_ms: int
    steps_purged_at: datetime | None
    erased_at: datetime | None
    trace_parent: str | None
    note: str | None
    summary: str | None
    tags: list[str]
    metadata: str
    input: str
    input_secrets: str | None
    output: str | None


class StepRow(Protocol):
    """A row of `step_result`."""

    run_id: UUID
    position: int
    name: str
    display_name: str | None
    kind: str
    status: str
    attempts_count: int
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    reused_from_id: UUID | None
    completed_by: str | None
    completion_note: str | None
    error: str | None
    input: str | None
    output: str | None
    sealed: str | None


class AttemptRow(Protocol):
    """A row of `step_attempt`."""

    run_id: UUID
    position: int
    number: int
    status: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None


class FileRow(Protocol):
    """A row of `run_file`."""

    id: UUID
    run_id: UUID
    step_name: str
    attempt: int
    name: str
    size: int
    media_type: str
    key: str
    created_at: datetime
    purged_at: datetime | None


class LogLineRow(Protocol):
    """A row of `run_log`."""

    run_id: UUID
    number: int
    at: datetime
    level: str
    step_name: str | None
    attempt: int | None
    message: str


class InputRequestRow(Protocol):
    """A row of `input_request`."""

    id: UUID
    run_id: UUID
    project_id: UUID
    flow_id: UUID
    position: int
    status: str
    step_name: str
    title: str
    description: str | None
    assignee: str | None
    answer_schema: str
    created_at: datetime
    expires_at: datetime | None
    answered_at: datetime | None
    answer: str | None
    answered_by_key_id: UUID | None
    answered_by: str | None
    idempotency_key: str | None


class FlowRow(Protocol):
    """A row of `flow`."""

    id: UUID
    project_id: UUID
    name: str
    enabled: bool
    published_version_id: UUID | None
    max_concurrent_runs: int | None
    hold_id: UUID | None
    created_at: datetime
    updated_at: datetime
    deleting_since: datetime | None


class FlowVersionRow(Protocol):
    """A row of `flow_version`."""

    id: UUID
    project_id: UUID
    flow_id: UUID
    number: int
    step_count: int
    definition: str
    created_at: datetime


class ProjectRow(Protocol):
    """A row of `project`."""

    id: UUID
    name: str
    retry_limit: int
    max_concurrent_runs: int | None
    quota_runs: int | None
    quota_period: str | None
    retention_days: int | None
    hold_id: UUID | None
    run_retention: str | None
    archive_after_days: int | None
    created_at: datetime
    deleting_since: datetime | None


class ScheduleRow(Protocol):
    """A row of `schedule`."""

    id: UUID
    project_id: UUID
    flow_id: UUID
    name: str | None
    enabled: bool
    cron: str
    time_zone: str
    missed_fires: str
    overlap: str
    environment: str
    tags: list[str]
    metadata: str
    input: str
    next_fire_at: datetime | None
    last_fired_at: datetime | None
    last_skipped_at: datetime | None
    last_skipped_reason: str | None
    created_at: datetime
    updated_at: datetime


class WebhookRow(Protocol):
    """A row of `webhook`."""

    id: UUID
    project_id: UUID
    flow_id: UUID
    name: str
    environment: str
    hint: str
    signature_header: str | None
    signature_secret: str | None
    signature_key_id: str | None
    signature_sealed: str | None
    input_template: str | None
    response_template: str | None
    accepts_get: bool
    exposed_headers: str
    calls_per_minute: int | None
    created_at: datetime
    rotated_at: datetime | None


class SecretRow(Protocol):
    """A row of `secret`."""

    id: UUID
    project_id: UUID
    environment: str | None
    name: str
    key_id: str
    sealed: str
    created_at: datetime
    changed_at: datetime
    changed_by: str


class EventRow(Protocol):
    """A row of `run_event`."""

    seq: int
    project_id: UUID
    flow_id: UUID | None
    run_id: UUID | None
    operation_id: UUID | None
    kind: str
    step_name: str | None
    from_status: str | None
    to_status: str | None
    message: str | None
    data: str | None
    at: datetime


class StartHoldRow(Protocol):
    """A row of `start_hold`."""

    id: UUID
    project_id: UUID | None
    flow_id: UUID | None
    reason: str | None
    held_by: str
    held_at: datetime


class ApiKeyRow(Protocol):
    """A row of `api_key`."""

    id: UUID
    project_id: UUID | None
    role: str
    payloads: bool
    cost_per_minute: int | None
    name: str
    hint: str
    created_by: str | None
    user_id: UUID | None
    granted_project_ids: str | None
    replaces_id: UUID | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class AuditEventRow(Protocol):
    """A row of `audit_event`."""

    id: UUID
    project_id: UUID | None
    action: str
    actor: str
    actor_id: UUID | None
    object_id: UUID
    object_kind: str
    flow_id: UUID | None
    request_id: str | None
    details: str | None
    created_at: datetime


class BulkOperationRow(Protocol):
    """A row of `bulk_operation`."""

    id: UUID
    project_id: UUID | None
    kind: str
    status: str
    strategy: str | None
    step_name: str | None
    source_id: UUID | None
    filter: str | None
    excluded_ids: str
    user_id: UUID | None
    key_id: UUID
    key_name: str
    idempotency_key: str | None
    request_hash: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    matched: int
    processed: int
    succeeded: int
    skipped: int
    failed: int
    became_eligible: int
    became_ineligible: int
    max_per_second: float | None
    spread_over_ms: int | None
    paced_through: datetime | None
    done_through: UUID | None
    lease_token: UUID | None
    lease_until: datetime | None


class BulkOutcomeRow(Protocol):
    """A row of `bulk_outcome`."""

    operation_id: UUID
    run_id: UUID
    result: str
    reason: str | None
    planned_reason: str | None
    new_run_id: UUID | None
    due_at: datetime | None
    at: datetime | None


class SavedViewRow(Protocol):
    """A row of `saved_view`."""

    id: UUID
    project_id: UUID
    owner_id: UUID | None
    name: str
    filter: str
    order_field: str
    descending: bool
    created_at: datetime
    updated_at: datetime
    created_by: str
    updated_by: str


class WorkerRow(Protocol):
    """A row of `worker`."""

    id: UUID
    host: str
    process_id: int
    version: str
    concurrency: int
    executing: int
    run_ids: str
    draining: bool
    started_at: datetime
    heartbeat_at: datetime
