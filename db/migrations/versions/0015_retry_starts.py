"""Retries, and bulk retries, say the step from which they start. Runs say which run they repeat, and steps who
completed them by hand.

Revision ID: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0018"


def upgrade() -> None:
    """Add columns, all of them null in old rows, and an index of reruns."""
    op.add_column("flow_run", sa.Column("retry_step_name", sa.Text(), nullable=True))
    op.add_column("flow_run", sa.Column("rerun_of_id", sa.Uuid(), nullable=True))
    op.add_column("bulk_operation", sa.Column("step_name", sa.Text(), nullable=True))
    for name in ("completed_by", "completion_note"):
        op.add_column("step_result", sa.Column(name, sa.Text(), nullable=True))
    is_rerun = sa.text("rerun_of_id IS NOT NULL")
    op.create_index(
        "ix_run_rerun_of", "flow_run", ["rerun_of_id", "id"], sqlite_where=is_rerun, postgresql_where=is_rerun
    )
