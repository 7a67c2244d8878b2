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

    No foreign keys: the rows that it names were read before it is written, and nobody deletes such rows. To check them
    takes a fifth of what retries in bulk cost PostgreSQL.
    """

    __tablename__ = "flow_run"
    # What sets no indexed column, such as archiving, stays in its page and leaves the many indexes alone, if there is
    # room for as many rows again.
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    id: UUID = Field(sa_column=key(primary_key=True))
    project_id: UUID = Field(sa_column=key())
    flow_id: UUID = Field(sa_column=key())
    flow_version_id: UUID = Field(sa_column=key())
    status: str = Field(sa_column=Column(Text, nullable=False))
    environment: str = Field(sa_column=Column(Text, nullable=False))
    trigger_method: str = Field(sa_column=Column(Text, nullable=False))
    scheduled_for: datetime | None = Field(sa_column=Column(Timestamp))
    """The fire time of the schedule that started the run."""

    created_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    started_at: datetime | None = Field(sa_column=Column(Timestamp))
    finished_at: datetime | None = Field(sa_column=Column(Timestamp))
    updated_at: datetime = Field(sa_column=Column(Timestamp, nullable=False))
    archived_at: datetime | None = Field(sa_column=Column(Timestamp))
    archive_operation_id: UUID | None = Field(sa_column=key(nullable=True))
    """The bulk operation that archived it: what undoes that knows it by this."""
    duration_ms: int | None = Field(sa_column=Column(BigInteger))
    """From start to finish, set when the run is final."""

    started_by: str | None = Field(sa_column=Column(Text))
    """JSON text, see domain/actor.py; None: unknown, as for `retried_by`, `cancelled_by` and `archived_by`."""
    retried_by: str | None = Field(sa_column=Column(Text))
    """Who made this retry; None for a run that is no retry."""
    cancelled_by: str | None = Field(sa_column=Column(Text))
    archived_by: str | None = Field(sa_column=Column(Text))
    """None: it is not archived."""

    parent_run_id: UUID | None = Field(sa_column=key(nullable=True))
    root_run_id: UUID = Field(sa_column=key())
    """The topmost ancestor; a run without a parent is its own root."""
    depth: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    """Ancestors that the run has."""
    parent_position: int | None = Field(sa_column=Column(Integer))
    """The parent's step that waits for the run; none for a run that no step waits for, such as a retry of a child whose
    parent went on without it."""
    parent_attempt: int | None = Field(sa_column=Column(Integer))
    """Of that step."""
    item_index: int | None = Field(sa_column=Column(Integer))
    """The run's place among the children of one attempt, from 0."""
    fail_parent_on_failure: bool = Field(sa_column=Column(Boolean, nullable=False))
    retry_of_id: UUID | None = Field(sa_column=key(nullable=True))
    retry_strategy: str | None = Field(sa_column=Column(Text))
    """Where a retry began; none for other runs, and for retries made before this was recorded."""
    retry_step_name: str | None = Field(sa_column=Column(Text))
    """The step that the client chose, of a retry FROM_STEP or of a rerun from a step."""
    first_run_id: UUID | None = Field(sa_column=key(nullable=True))
    """The first run of the operation that this run continues, whose ID is in idempotency keys; none: the run itself."""
    rerun_of_id: UUID | None = Field(sa_column=key(nullable=True))
    """The run that this run executes once more: a new operation, outside of chains of retries."""
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    """Place in the chain of retries, from 1."""
    retry_operation_id: UUID | None = Field(sa_column=key(nullable=True))
    """The bulk operation that made this retry; none for one that was made by hand."""
    recovered_by_id: UUID | None = Field(sa_column=key(nullable=True))
    """The retry, direct or later in the chain, that succeeded."""

    failed_step_name: str | None = Field(sa_column=Column(Text))
    error_code: str | None = Field(sa_column=Column(Text))
    error_message: str | None = Field(sa_column=Column(Text))
    error_folded: str | None = Field(sa_column=Column(Text))
    """Of the message: see `domain.text.fold_column`."""
    error_fingerprint: str | None = Field(sa_column=Column(Text))
    """The same for errors that differ in numbers, IDs and quoted values alone."""

    external_id: str | None = Field(sa_column=Column(Text))
    source: str | None = Field(sa_column=Column(Text))
    idempotency_key: str | None = Field(sa_column=Column(Text))
    request_hash: str | None = Field(sa_column=Column(Text))
    """Of the arguments that came with the idempotency key."""

    due_at: datetime | None = Field(sa_column=Column(Timestamp))
    """When a worker has to look at the run next. While a worker holds it, when its lease ends. None: never."""
    priority: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    """Its place in the queue of due runs, before `due_at`: see `db.queue.due`."""
    blocked_since: datetime | None = Field(sa_column=Column(Timestamp))
    """When a run that waits for a slot became due, which is its place in the wait queue; see `db.queue.slots`."""
    blocked_by: UUID | None = Field(sa_column=key(nullable=True))
    """The wait queue it stands in: that of its flow, if the flow has a concurrency limit, or else of its project."""
    waits_for: str | None = Field(sa_column=Column(Text))
    """What the last pause of the run waits for, or waited: a `WaitKind`. None: the run has never been paused."""
    lease_token: UUID | None = Field(sa_column=key(nullable=True))
    """Of the claim under way; a worker that cannot show it changes nothing."""
    interruptions: int = Field(sa_column=Column(Integer, nullable=False))
    """Workers lost over this run since it last made progress."""
    running_since: datetime | None = Field(sa_column=Column(Timestamp))
    """Since it began, or went on after its last pause."""
    ran_ms: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    """Milliseconds that it ran before its last pause: a run's timeout does not count pauses."""
    steps_purged_at: datetime | None = Field(sa_column=Column(Timestamp))
    erased_at: datetime | None = Field(sa_column=Column(Timestamp))
    """When its payloads were erased; then `steps_purged_at` is set as well."""

    tags: list[str] = Field(sa_column=Column(Tags, nullable=False))
    meta: str = Field(sa_column=Column("metadata", Metadata, nullable=False))
    input: str = Field(sa_column=Column(Text, nullable=False))
    input_secrets: str | None = Field(sa_column=Column(Text))
    """Where the input of a child run has placeholders of secrets that its parent put there, as JSON text. Any other
    text that looks like one is no placeholder."""
    output: str | None = Field(sa_column=Column(Text))


def _indexes(c: Any) -> None:
    # Lists: newest first in a project, of one status, of one flow.
    Index("ix_run_project", c.project_id, c.id)
    Index("ix_run_project_status", c.project_id, c.status, c.id).ddl_if(dialect="postgresql")
    # SQLite counts from it alone; PostgreSQL would have to write every index anew when a run is archived.
    Index("ix_run_project_status", c.project_id, c.status, c.id, c.archived_at).ddl_if(dialect="sqlite")
    Index("ix_run_flow", c.flow_id, c.id)
    Index("ix_run_trigger", c.project_id, c.trigger_method, c.id)
    # The other orders of FlowRunOrder.
    Index("ix_run_project_started", c.project_id, sort_key(c.started_at), c.id)
    Index("ix_run_project_finished", c.project_id, sort_key(c.finished_at), c.id)
    Index("ix_run_project_duration", c.project_id, sort_key(c.duration_ms), c.id)
    # Also the changes since an instant.
    Index("ix_run_project_updated", c.project_id, c.updated_at, c.id)
    # Few runs have these, so the indexes hold few rows.
    for name, column in (
        ("failed_step", c.failed_step_name),
        ("fingerprint", c.error_fingerprint),
        ("external", c.external_id),
        ("source", c.source),
    ):
        condition = column.is_not(None)
        Index(f"ix_run_{name}", c.project_id, column, c.id, sqlite_where=condition, postgresql_where=condition)
    # Searched for texts that are too short for an index of texts, or where there is none.
    failed = c.error_message.is_not(None)
    Index("ix_run_error", c.project_id, c.id, sqlite_where=failed, postgresql_where=failed)
    # The live runs of a schedule.
    live = and_(c.source.is_not(None), c.finished_at.is_(None))
    Index("ix_run_source_live", c.source, c.id, sqlite_where=live, postgresql_where=live)
    # On PostgreSQL an index that asks for `archived_at` would make every index of the run be written when it is set.
    archived = c.archived_at.is_not(None)
    Index("ix_run_archived", c.project_id, c.id, sqlite_where=archived).ddl_if(dialect="sqlite")
    for name, column in (("parent", c.parent_run_id), ("retry_of", c.retry_of_id), ("rerun_of", c.rerun_of_id)):
        condition = column.is_not(None)
        Index(f"ix_run_{name}", column, c.id, sqlite_where=condition, postgresql_where=condition)
    # Of runs without a parent, which are most, the root is found by its ID.
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
    # The queue that workers claim from: only live runs are in it.
    due = c.due_at.is_not(None)
    Index("ix_run_due", c.priority, c.due_at, sqlite_where=due, postgresql_where=due)
    # The wait queues of concurrency limits.
    blocked = c.blocked_by.is_not(None)
    Index("ix_run_blocked", c.blocked_by, c.blocked_since, sqlite_where=blocked, postgresql_where=blocked)
    # What paused runs wait for.
    paused = c.status == "PAUSED"
    Index("ix_run_waiting", c.project_id, c.waits_for, c.id, sqlite_where=paused, postgresql_where=paused)
    # What the purge of step data looks for.
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
