"""Runs that pause: questions to people, steps that wait for child runs, and the time that a run really ran.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("flow_run", sa.Column("running_since", Timestamp()))
    op.add_column("flow_run", sa.Column("ran_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("flow_run", sa.Column("depth", sa.Integer(), nullable=False, server_default="0"))
    for name in ("parent_position", "parent_attempt", "item_index"):
        op.add_column("flow_run", sa.Column(name, sa.Integer()))
    op.execute("UPDATE flow_run SET running_since = started_at")
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
    op.create_index("ix_input_request_run", "input_request", ["run_id", "position"])
