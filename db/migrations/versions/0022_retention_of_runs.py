"""Retention and automatic archiving of runs, and the deletion of flows and projects.

Revision ID: 0022
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the columns. Until they are set, every run is kept, and nothing is deleted."""
    op.add_column("project", sa.Column("run_retention", sa.Text(), nullable=True))
    op.add_column("project", sa.Column("archive_after_days", sa.Integer(), nullable=True))
    op.add_column("project", sa.Column("archived_through", Timestamp(), nullable=True))
    for table in ("project", "flow"):
        op.add_column(table, sa.Column("deleting_since", Timestamp(), nullable=True))
        condition = sa.text("deleting_since IS NOT NULL")
        op.create_index(f"ix_{table}_deleting", table, ["id"], sqlite_where=condition, postgresql_where=condition)
