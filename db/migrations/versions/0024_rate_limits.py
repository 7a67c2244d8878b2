"""Rate limits of API keys, and what is left of them.

Revision ID: 0024
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the column, which is null in old rows, and the table."""
    op.add_column("api_key", sa.Column("cost_per_minute", sa.Integer(), nullable=True))
    op.create_table(
        "cost_budget",
        sa.Column("key_id", sa.Uuid(), primary_key=True),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("refilled_at", Timestamp(), nullable=False),
    )
    op.create_index("ix_cost_budget_refilled_at", "cost_budget", ["refilled_at"])
