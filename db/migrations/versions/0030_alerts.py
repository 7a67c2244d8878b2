"""Alerts, the groups of equal events that they count, and notifications.

Revision ID: 0030
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "alert",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("run_filter", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=True),
        sa.Column("quiet_seconds", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("after_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("changed_at", Timestamp(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
    )
    op.create_index("ix_alert_project", "alert", ["project_id", "id"])
    op.create_table(
        "alert_group",
        sa.Column("alert_id", sa.Uuid(), primary_key=True),
        sa.Column("group_key", sa.Text(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("streak", sa.BigInteger(), nullable=False),
        sa.Column("first_at", Timestamp(), nullable=False),
        sa.Column("last_at", Timestamp(), nullable=False),
        sa.Column("quiet_until", Timestamp(), nullable=True),
        sa.Column("notify_at", Timestamp(), nullable=True),
    )
    due = sa.text("notify_at IS NOT NULL")
    op.create_index("ix_alert_group_due", "alert_group", ["notify_at"], sqlite_where=due, postgresql_where=due)
    op.create_table(
        "notification",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("is_test", sa.Boolean(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", Timestamp(), nullable=False),
        sa.Column("last_at", Timestamp(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("due_at", Timestamp(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("ended_at", Timestamp(), nullable=True),
    )
    op.create_index("ix_notification_alert", "notification", ["alert_id", "id"])
    waiting = sa.text("due_at IS NOT NULL")
    op.create_index("ix_notification_due", "notification", ["due_at"], sqlite_where=waiting, postgresql_where=waiting)
    op.add_column("relay_state", sa.Column("late_until", Timestamp(), nullable=True))
