"""Saved views of lists of runs, and summaries of runs.

Revision ID: 0029
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the table, and a column that is null in old rows."""
    op.add_column("flow_run", sa.Column("summary", sa.Text(), nullable=True))
    op.create_table(
        "saved_view",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("order_field", sa.Text(), nullable=False),
        sa.Column("descending", sa.Boolean(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
    )
    key = sa.text("coalesce(owner_id, project_id)")
    op.create_index("uq_saved_view_name", "saved_view", ["project_id", "name", key], unique=True)
