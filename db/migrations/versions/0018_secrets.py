"""Secrets of projects, the values that they had before, and where runs and steps refer to them.

Revision ID: 0018
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0018"
down_revision = "0010"


def upgrade() -> None:
    """Add the tables, and columns that are null in old rows."""
    op.create_table(
        "secret",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("changed_at", Timestamp(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
    )
    op.create_index(
        "uq_secret_name", "secret", ["project_id", "name", sa.text("coalesce(environment, '')")], unique=True
    )
    op.create_table(
        "retired_secret",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("secret_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
    )
    op.create_index("ix_retired_secret_project", "retired_secret", ["project_id", "id"])
    op.add_column("flow_run", sa.Column("input_secrets", sa.Text(), nullable=True))
    op.add_column("step_result", sa.Column("sealed", sa.Text(), nullable=True))
    sealed = sa.text("sealed IS NOT NULL")
    op.create_index(
        "ix_step_sealed", "step_result", ["run_id", "position"], sqlite_where=sealed, postgresql_where=sealed
    )
