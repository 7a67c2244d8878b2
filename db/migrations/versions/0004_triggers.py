"""Schedules and webhooks, which start runs.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Metadata, Tags, Timestamp

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "schedule",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("flow_id", sa.Uuid(), sa.ForeignKey("flow.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("missed_fires", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("tags", Tags(), nullable=False),
        sa.Column("metadata", Metadata(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("next_fire_at", Timestamp(), nullable=True),
        sa.Column("last_fired_at", Timestamp(), nullable=True),
        sa.Column("last_skipped_at", Timestamp(), nullable=True),
        sa.Column("last_skipped_reason", sa.Text(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
    )
    op.create_index("ix_schedule_flow", "schedule", ["flow_id", "id"])
    due = sa.text("next_fire_at IS NOT NULL")
    op.create_index("ix_schedule_due", "schedule", ["next_fire_at"], sqlite_where=due, postgresql_where=due)
    op.create_table(
        "webhook",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("flow_id", sa.Uuid(), sa.ForeignKey("flow.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False, unique=True),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("signature_header", sa.Text(), nullable=True),
        sa.Column("signature_secret", sa.Text(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("rotated_at", Timestamp(), nullable=True),
    )
    op.create_index("ix_webhook_flow", "webhook", ["flow_id", "id"])
