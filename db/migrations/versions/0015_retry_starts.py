"""Retries, and bulk retries, say the step from which they start.

Revision ID: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0010"


def upgrade() -> None:
    """Add columns, all of them null in old rows."""
    op.add_column("flow_run", sa.Column("retry_step_name", sa.Text(), nullable=True))
    op.add_column("bulk_operation", sa.Column("step_name", sa.Text(), nullable=True))
