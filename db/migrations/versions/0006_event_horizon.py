"""How far back the event log is complete.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table, with its one row: nothing was deleted so far."""
    horizon = op.create_table(
        "event_horizon",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(horizon, [{"id": 1, "seq": 0}])
