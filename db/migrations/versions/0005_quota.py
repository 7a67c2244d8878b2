"""How much of their quotas projects have used.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "quota_use",
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), primary_key=True),
        sa.Column("period", sa.Text(), primary_key=True),
        sa.Column("began_at", Timestamp(), primary_key=True),
        sa.Column("used", sa.Integer(), nullable=False),
    )
