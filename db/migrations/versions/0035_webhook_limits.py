"""Rate limits of webhooks.

Revision ID: 0035
"""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Add the column, which is null in old rows: the default of the service holds for them."""
    op.add_column("webhook", sa.Column("calls_per_minute", sa.Integer(), nullable=True))
