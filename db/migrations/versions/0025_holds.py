"""Holds: flows and projects whose runs do not start, and the drain of all workers.

Revision ID: 0025
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0025"
down_revision = "0024"

_LIMITED = sa.text("max_concurrent_runs IS NOT NULL OR hold_id IS NOT NULL")


def upgrade() -> None:
    """Add the table, columns that are null in old rows, and their index."""
    op.create_table(
        "start_hold",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("flow_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("held_by", sa.Text(), nullable=False),
        sa.Column("held_at", Timestamp(), nullable=False),
    )
    op.add_column("flow", sa.Column("hold_id", sa.Uuid(), nullable=True))
    op.add_column("project", sa.Column("hold_id", sa.Uuid(), nullable=True))
    op.drop_index("ix_flow_limited", "flow")
    op.create_index("ix_flow_limited", "flow", ["project_id"], sqlite_where=_LIMITED, postgresql_where=_LIMITED)
