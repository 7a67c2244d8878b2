"""Webhooks map requests and answer by templates; schedules say what happens when a run is still live.

Revision ID: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns. Old webhooks and schedules do what they did before."""
    op.add_column("webhook", sa.Column("input_template", sa.Text(), nullable=True))
    op.add_column("webhook", sa.Column("response_template", sa.Text(), nullable=True))
    op.add_column("webhook", sa.Column("accepts_get", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("webhook", sa.Column("exposed_headers", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("schedule", sa.Column("overlap", sa.Text(), nullable=False, server_default="QUEUE"))
    live = sa.text("source IS NOT NULL AND finished_at IS NULL")
    op.create_index("ix_run_source_live", "flow_run", ["source", "id"], sqlite_where=live, postgresql_where=live)
