"""Notes of runs.

Revision ID: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the column, which is null in old rows."""
    op.add_column("flow_run", sa.Column("note", sa.Text(), nullable=True))
