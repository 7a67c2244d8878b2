"""The foundation: projects, keys, flows, runs, their journal and the event log.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Metadata, Tags, Timestamp, sort_key

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table and index."""
    _create_tables()
    dialect = op.get_context().dialect.name
    of_status = ["project_id", "status", "id"]
    op.create_index(
        "ix_run_project_status", "flow_run", [*of_status, "archived_at"] if dialect == "sqlite" else of_status
    )
    for name, columns in _INDEXES.items():
        op.create_index(name, "flow_run", columns)
    for name, column in _SORTED.items():
        key = sort_key(sa.column(column, sa.BigInteger() if column == "duration_ms" else Timestamp()))
        op.create_index(name, "flow_run", ["project_id", key, "id"])
    for name, (columns, condition) in _PARTIAL.items():
        where = sa.text(f"{condition} IS NOT NULL")
        op.create_index(
            name, "flow_run", columns, unique=name.startswith("uq_"), sqlite_where=where, postgresql_where=where
        )
    kept = sa.text("finished_at IS NOT NULL AND steps_purged_at IS NULL")
    op.create_index("ix_run_kept", "flow_run", ["project_id", "finished_at"], sqlite_where=kept, postgresql_where=kept)
    op.create_index("ix_flow_project", "flow", ["project_id", "id"])
    limited = sa.text("max_concurrent_runs IS NOT NULL")
    op.create_index("ix_flow_limited", "flow", ["project_id"], sqlite_where=limited, postgresql_where=limited)
    op.create_index("ix_input_request_run", "input_request", ["run_id", "position"])
    op.create_index("ix_run_event_run", "run_event", ["run_id", "seq"])
    told = sa.text("operation_id IS NOT NULL")
    op.create_index(
        "ix_run_event_operation", "run_event", ["operation_id", "seq"], sqlite_where=told, postgresql_where=told
    )
    if dialect == "postgresql":
        op.create_index("ix_run_tags", "flow_run", ["tags"], postgresql_using="gin")
        op.create_index("ix_run_metadata", "flow_run", [sa.text("metadata jsonb_path_ops")], postgresql_using="gin")


_INDEXES = {
    "ix_run_project": ["project_id", "id"],
    "ix_run_flow": ["flow_id", "id"],
}
_SORTED = {
    "ix_run_project_started": "started_at",
    "ix_run_project_finished": "finished_at",
    "ix_run_project_duration": "duration_ms",
}
_PARTIAL = {
    "ix_run_failed_step": (["project_id", "failed_step_name", "id"], "failed_step_name"),
    "ix_run_fingerprint": (["project_id", "error_fingerprint", "id"], "error_fingerprint"),
    "ix_run_external": (["project_id", "external_id", "id"], "external_id"),
    "ix_run_parent": (["parent_run_id", "id"], "parent_run_id"),
    "ix_run_retry_of": (["retry_of_id", "id"], "retry_of_id"),
    "uq_run_idempotency": (["project_id", "idempotency_key"], "idempotency_key"),
    "ix_run_due": (["due_at"], "due_at"),
    "ix_run_held": (["held_by", "held_at"], "held_by"),
}


def _create_tables() -> None:
    op.create_table(
        "project",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("retry_limit", sa.Integer(), nullable=False, server_default="10"),
        sa.Column("max_concurrent_runs", sa.Integer(), nullable=True),
        sa.Column("quota_runs", sa.Integer(), nullable=True),
        sa.Column("quota_period", sa.Text(), nullable=True),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False, unique=True),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.Column("revoked_at", Timestamp(), nullable=True),
    )
    op.create_table(
        "flow",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("published_version_id", sa.Uuid(), nullable=True),
        sa.Column("max_concurrent_runs", sa.Integer(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.UniqueConstraint("project_id", "name", name="uq_flow_project_name"),
    )
    op.create_table(
        "flow_version",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("flow_id", sa.Uuid(), sa.ForeignKey("flow.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step_count", sa.Integer(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.UniqueConstraint("flow_id", "number", name="uq_flow_version_number"),
    )
    op.create_table(
        "flow_run",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=False),
        sa.Column("flow_version_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("trigger_method", sa.Text(), nullable=False),
        sa.Column("scheduled_for", Timestamp(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=True),
        sa.Column("finished_at", Timestamp(), nullable=True),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("archived_at", Timestamp(), nullable=True),
        sa.Column("archive_operation_id", sa.Uuid(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("parent_run_id", sa.Uuid(), nullable=True),
        sa.Column("root_run_id", sa.Uuid(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("parent_position", sa.Integer(), nullable=True),
        sa.Column("parent_attempt", sa.Integer(), nullable=True),
        sa.Column("item_index", sa.Integer(), nullable=True),
        sa.Column("fail_parent_on_failure", sa.Boolean(), nullable=False),
        sa.Column("retry_of_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("retry_operation_id", sa.Uuid(), nullable=True),
        sa.Column("recovered_by_id", sa.Uuid(), nullable=True),
        sa.Column("failed_step_name", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_fingerprint", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=True),
        sa.Column("due_at", Timestamp(), nullable=True),
        sa.Column("held_at", Timestamp(), nullable=True),
        sa.Column("held_by", sa.Uuid(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("interruptions", sa.Integer(), nullable=False),
        sa.Column("running_since", Timestamp(), nullable=True),
        sa.Column("ran_ms", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("steps_purged_at", Timestamp(), nullable=True),
        sa.Column("tags", Tags(), nullable=False),
        sa.Column("metadata", Metadata(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=True),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "input_request",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("flow_run.id"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("step_name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("assignee", sa.Text(), nullable=True),
        sa.Column("answer_schema", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=True),
        sa.Column("answered_at", Timestamp(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
    )
    op.create_table(
        "run_event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("operation_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("step_name", sa.Text(), nullable=True),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("at", Timestamp(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "step_attempt",
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=False),
        sa.Column("finished_at", Timestamp(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
    )
    op.create_table(
        "step_result",
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts_count", sa.Integer(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=True),
        sa.Column("finished_at", Timestamp(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("reused_from_id", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("input", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
    )
