"""Retries say how they continue a run; responses say who gave them; runs refer to files of the runs that they retry.

Revision ID: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add columns, all of them null in old rows, and the table of file references."""
    op.add_column("flow_run", sa.Column("retry_strategy", sa.Text(), nullable=True))
    op.add_column("flow_run", sa.Column("first_run_id", sa.Uuid(), nullable=True))
    op.add_column("input_request", sa.Column("answered_by_key_id", sa.Uuid(), nullable=True))
    op.add_column("input_request", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.create_table(
        "run_file_reference",
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("file_id", sa.Uuid(), primary_key=True),
    )
    op.create_index("ix_run_file_reference_file", "run_file_reference", ["file_id"])
