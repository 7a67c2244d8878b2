"""What runs leave behind: the lines of their logs, and the files that their steps produce.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "run_log",
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("flow_run.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", Timestamp(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("step_name", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
    )
    op.create_table(
        "run_file",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("flow_run.id"), nullable=False),
        sa.Column("step_name", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("purged_at", Timestamp(), nullable=True),
    )
    op.create_index("ix_run_file_run", "run_file", ["run_id", "id"])
    purged = sa.text("purged_at IS NOT NULL")
    op.create_index("ix_run_file_purged", "run_file", ["id"], sqlite_where=purged, postgresql_where=purged)
