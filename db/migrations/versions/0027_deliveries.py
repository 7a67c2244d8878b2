"""Endpoints, deliveries of events to them, and the callbacks of runs.

Revision ID: 0027
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the tables. The log is read from its end on, when there is a first endpoint."""
    op.create_table(
        "endpoint",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("run_filter", sa.Text(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("payloads", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("disabled_at", Timestamp(), nullable=True),
        sa.Column("failing_since", Timestamp(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("old_key_id", sa.Text(), nullable=True),
        sa.Column("old_sealed", sa.Text(), nullable=True),
        sa.Column("old_until", Timestamp(), nullable=True),
        sa.Column("after_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("changed_at", Timestamp(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
    )
    op.create_index("ix_endpoint_project", "endpoint", ["project_id", "id"])
    is_callback = sa.text("url IS NULL")
    op.create_index(
        "uq_endpoint_callback",
        "endpoint",
        ["project_id"],
        unique=True,
        sqlite_where=is_callback,
        postgresql_where=is_callback,
    )
    op.create_table(
        "run_callback",
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("lane", sa.Uuid(), nullable=False),
    )
    relay = op.create_table(
        "relay_state",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_until", Timestamp(), nullable=True),
    )
    op.bulk_insert(relay, [{"id": 1, "seq": 0, "version": 0}])
    _create_deliveries()


def _create_deliveries() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("callback_run_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=True),
        sa.Column("at", Timestamp(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("try_until", Timestamp(), nullable=False),
        sa.Column("due_at", Timestamp(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("ended_at", Timestamp(), nullable=True),
    )
    op.create_index("ix_delivery_project", "delivery", ["project_id", "id"])
    op.create_index("ix_delivery_endpoint", "delivery", ["endpoint_id", "id"])
    op.create_index("ix_delivery_run", "delivery", ["run_id"])
    due = sa.text("due_at IS NOT NULL")
    op.create_index("ix_delivery_due", "delivery", ["lane", "due_at"], sqlite_where=due, postgresql_where=due)
    claimed = sa.text("lease_token IS NOT NULL")
    op.create_index("ix_delivery_claimed", "delivery", ["lane"], sqlite_where=claimed, postgresql_where=claimed)
    op.create_table(
        "delivery_attempt",
        sa.Column("delivery_id", sa.Uuid(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("started_at", Timestamp(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=True),
    )
