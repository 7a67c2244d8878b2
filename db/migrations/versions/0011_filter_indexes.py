"""Indexes of runs by source, by root run and by last change.

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    """Add the indexes."""
    for name, columns, condition in (
        ("ix_run_source", ["project_id", "source", "id"], "source IS NOT NULL"),
        ("ix_run_root", ["root_run_id", "id"], "parent_run_id IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "flow_run", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_run_project_updated", "flow_run", ["project_id", "updated_at", "id"])
