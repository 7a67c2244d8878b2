"""Workers report themselves, and runs know the span that started them.

Revision ID: 0023
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add table and column. Workers of the version before do not report themselves; they work as before."""
    op.create_table(
        "worker",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("executing", sa.Integer(), nullable=False),
        sa.Column("run_ids", sa.Text(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=False),
        sa.Column("heartbeat_at", Timestamp(), nullable=False),
    )
    op.add_column("flow_run", sa.Column("trace_parent", sa.Text(), nullable=True))
