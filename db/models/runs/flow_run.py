"""Flow runs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Text, and_, text
from sqlmodel import Field, SQLModel

from db.models.types import Metadata, Tags, Timestamp, key, sort_key


class FlowRun(SQLModel, table=True):
    """One execution of one flow version.

    `created_at` is read from the ID, so every index that ends in `id` also serves ranges and orders by creation.

    No foreign keys: the rows that a run names were read before it is written, and are never deleted. Checking them
    would take a fifth of the time that PostgreSQL needs for retries in bulk.
    """

    __tablename__ = "flow_run"
    # An update that sets no indexed column, such as archiving, stays in its page and leaves the many indexes alone, if
    # the page has room for as many rows again.
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key())
    flow_id: UUID = Field(sa_column=key())
    flow_version_id: UUID = Field(sa_column=key())
    status: str = Field(sa_column=Column(Text, nullable=False))
    environment: str = Field(sa_column=Column(Text, nullable=False))
    trigger_method: str = Field(sa_column=Column(Text, nullable=False))
    scheduled_for: datetime | None = Field(sa_column=Column(Timestamp))
    """Fire time of the schedule that started the run."""

    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    started_at: datetime | None = Field(sa_column=Column(Timestamp))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    archived_at: datetime | None = Field(sa_column=Column(Timestamp))
    archive_operation_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the bulk operation that archived the run. Undoing that operation finds the run by it."""
    duration_ms: int | None = Field(sa_column=Column(BigInteger))
    """Milliseconds from start to finish; set when the run is final."""

    started_by: str | None = Field(sa_column=Column(Text))
    """Actor as JSON text (domain/actor.py); None: unknown. The same holds for `retried_by`, `cancelled_by`,
    `archived_by`."""
    retried_by: str | None = Field(sa_column=Column(Text))
    """Actor that created this retry; None: the run is not a retry."""
    cancelled_by: str | None = Field(sa_column=Column(Text))
    archived_by: str | None = Field(sa_column=Column(Text))
    """Actor that archived the run; None: the run is not archived."""

    parent_run_id: UUID | None = Field(sa_column=key(nullable=True))
    root_run_id: UUID = Field(sa_column=key())
    """ID of the topmost ancestor. A run without a parent is its own root."""
    depth: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    """Number of ancestors."""
    parent_position: int | None = Field(sa_column=Column(Integer))
    """Position of the parent's step that waits for the run. None: no step waits for it, as for a retry of a child whose
    parent continued without it."""
    parent_attempt: int | None = Field(sa_column=Column(Integer))
    """Attempt of the parent's step that waits for the run."""
    item_index: int | None = Field(sa_column=Column(Integer))
    """Index of the run in its child batch, from 0."""
    fail_parent_on_failure: bool = Field(sa_column=Column(Boolean, nullable=False))
    retry_of_id: UUID | None = Field(sa_column=key(nullable=True))
    retry_strategy: str | None = Field(sa_column=Column(Text))
    """Strategy of the retry; None for other runs, and for retries older than this column."""
    retry_step_name: str | None = Field(sa_column=Column(Text))
    """Step that the client chose, for a retry FROM_STEP or a rerun from a step."""
    first_run_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the first run of the operation that this run continues, used in idempotency keys; None: the run itself."""
    rerun_of_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the run that this rerun repeats. A rerun is a new operation and belongs to no chain of retries."""
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    """Position in the chain of retries, from 1."""
    retry_operation_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the bulk operation that created this retry; None: a single retry, or no retry."""
    recovered_by_id: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the retry, direct or later in the chain, that succeeded."""

    failed_step_name: str | None = Field(sa_column=Column(Text))
    error_code: str | None = Field(sa_column=Column(Text))
    error_message: str | None = Field(sa_column=Column(Text))
    error_folded: str | None = Field(sa_column=Column(Text))
    """Folded error message: see `domain.text.fold_column`."""
    error_fingerprint: str | None = Field(sa_column=Column(Text))
    """Hash of the error, equal for errors that differ only in numbers, IDs and quoted values."""

    external_id: str | None = Field(sa_column=Column(Text))
    source: str | None = Field(sa_column=Column(Text))
    idempotency_key: str | None = Field(sa_column=Column(Text))
    request_hash: str | None = Field(sa_column=Column(Text))
    """Hash of the arguments that came with the idempotency key."""

    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """The time at which a worker must look at the run next: for a claimed run, the end of its lease. None: never."""
    priority: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    """Priority in the queue of due runs, considered before `due_at`: see `db.queue.due`."""
    blocked_since: datetime | None = Field(sa_column=Column(Timestamp))
    """The time at which a run that waits for a slot became due: its position in the wait queue (`db.queue.slots`)."""
    blocked_by: UUID | None = Field(sa_column=key(nullable=True))
    """ID of the flow or project in whose wait queue the run is: the flow, if it has a concurrency limit."""
    waits_for: str | None = Field(sa_column=Column(Text))
    """What the last pause of the run waits for, or waited: a `WaitKind`. None: the run has never been paused."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Fencing token of the current claim. A write with another token changes nothing."""
    interruptions: int = Field(sa_column=Column(Integer, nullable=False))
    """Number of workers lost while they executed the run, since it last made progress."""
    running_since: datetime | None = Field(sa_column=Column(Timestamp))
    """The time at which the run started, or was resumed after its last pause."""
    ran_ms: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    """Milliseconds that the run was RUNNING before its last pause: a run's timeout does not count pauses."""
    steps_purged_at: datetime | None = Field(sa_column=Column(Timestamp))
    erased_at: datetime | None = Field(sa_column=Column(Timestamp))
    """When its payloads were erased; then `steps_purged_at` is set as well."""
    trace_parent: str | None = Field(sa_column=Column(Text))
    """The span that started the run, as the header `traceparent` names it; None: it is not recorded."""

    note: str | None = Field(sa_column=Column(Text))
    """A note about the run, set after its start."""
    summary: str | None = Field(sa_column=Column(Text))
    """What the run is about, by the template of its version; None: it has no template, or has not started."""
    tags: list[str] = Field(sa_column=Column(Tags, nullable=False))
    meta: str = Field(sa_column=Column("metadata", Metadata, nullable=False))
    input: str = Field(sa_column=Column(Text, nullable=False))
    input_secrets: str | None = Field(sa_column=Column(Text))
    """Paths in the input of a child run where its parent put placeholders of secrets, as JSON text. Other texts that
    look like a placeholder are plain text."""
    output: str | None = Field(sa_column=Column(Text))


def _indexes(c: Any) -> None:
    # Indexes of lists: newest first in a project, by status, by flow.
    Index("ix_run_project", c.project_id, c.id)
    # The environment restricts what is read of a status, without a look at each run.
    Index("ix_run_project_status", c.project_id, c.status, c.id, c.environment).ddl_if(dialect="postgresql")
    # SQLite counts from this index alone. On PostgreSQL, archiving a run would then rewrite every index.
    Index("ix_run_project_status", c.project_id, c.status, c.id, c.archived_at, c.environment).ddl_if(dialect="sqlite")
    Index("ix_run_flow", c.flow_id, c.id)
    Index("ix_run_trigger", c.project_id, c.trigger_method, c.id)
    # Indexes of the other orders of FlowRunOrder.
    Index("ix_run_project_started", c.project_id, sort_key(c.started_at), c.id)
    Index("ix_run_project_finished", c.project_id, sort_key(c.finished_at), c.id)
    Index("ix_run_project_duration", c.project_id, sort_key(c.duration_ms), c.id)
    # Also serves the changes since an instant.
    Index("ix_run_project_updated", c.project_id, c.updated_at, c.id)
    # Few runs have these values, so the indexes have few rows.
    for name, column in (
        ("failed_step", c.failed_step_name),
        ("fingerprint", c.error_fingerprint),
        ("external", c.external_id),
        ("source", c.source),
    ):
        condition = column.is_not(None)
        Index(f"ix_run_{name}", c.project_id, column, c.id, sqlite_where=condition, postgresql_where=condition)
    # Serves searches for texts that are too short for an index of texts, and databases without such an index.
    failed = c.error_message.is_not(None)
    Index("ix_run_error", c.project_id, c.id, sqlite_where=failed, postgresql_where=failed)
    # Serves the live runs of a schedule.
    live = and_(c.source.is_not(None), c.finished_at.is_(None))
    Index("ix_run_source_live", c.source, c.id, sqlite_where=live, postgresql_where=live)
    # On PostgreSQL an index with a condition on `archived_at` would make archiving rewrite every index of the run.
    archived = c.archived_at.is_not(None)
    Index("ix_run_archived", c.project_id, c.id, sqlite_where=archived).ddl_if(dialect="sqlite")
    for name, column in (("parent", c.parent_run_id), ("retry_of", c.retry_of_id), ("rerun_of", c.rerun_of_id)):
        condition = column.is_not(None)
        Index(f"ix_run_{name}", column, c.id, sqlite_where=condition, postgresql_where=condition)
    # Roots need no entry: a run without a parent, as most are, is found by its own ID.
    nested = c.parent_run_id.is_not(None)
    Index("ix_run_root", c.root_run_id, c.id, sqlite_where=nested, postgresql_where=nested)
    keyed = c.idempotency_key.is_not(None)
    Index(
        "uq_run_idempotency",
        c.project_id,
        c.idempotency_key,
        unique=True,
        sqlite_where=keyed,
        postgresql_where=keyed,
    )
    # Serves claims by workers: the queue has live runs only.
    due = c.due_at.is_not(None)
    Index("ix_run_due", c.priority, c.due_at, sqlite_where=due, postgresql_where=due)
    # Serve the wait queues of concurrency limits.
    blocked = c.blocked_by.is_not(None)
    Index("ix_run_blocked", c.blocked_by, c.blocked_since, sqlite_where=blocked, postgresql_where=blocked)
    # Serves the filter by what paused runs wait for.
    paused = c.status == "PAUSED"
    Index("ix_run_waiting", c.project_id, c.waits_for, c.id, sqlite_where=paused, postgresql_where=paused)
    # Serves the purge of step data.
    kept = and_(c.finished_at.is_not(None), c.steps_purged_at.is_(None))
    Index("ix_run_kept", c.project_id, c.finished_at, sqlite_where=kept, postgresql_where=kept)
    Index("ix_run_tags", c.tags, postgresql_using="gin").ddl_if(dialect="postgresql")
    Index(
        "ix_run_metadata",
        text("metadata jsonb_path_ops"),
        postgresql_using="gin",
        _table=c.id.table,
    ).ddl_if(dialect="postgresql")


_indexes(FlowRun.__table__.c)  # type: ignore[attr-defined]
