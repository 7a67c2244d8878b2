"""Runs know the span that started them.

Revision ID: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column, which is null in old rows."""
    op.add_column("flow_run", sa.Column("trace_parent", sa.Text(), nullable=True))
