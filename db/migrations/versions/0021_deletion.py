"""Erased runs, and files of deleted runs.

Revision ID: 0021
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column and the table. No run was erased so far."""
    op.add_column("flow_run", sa.Column("erased_at", Timestamp(), nullable=True))
    op.create_table(
        "deleted_file",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("key", sa.Text(), nullable=False),
    )
