"""Access tokens, and keys without sight of payloads.

Revision ID: 0019
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0019"
down_revision = "0017"


def upgrade() -> None:
    """Add the column and the table. Keys that exist see payloads, as before."""
    op.add_column("api_key", sa.Column("payloads", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_table(
        "revoked_token",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("expires_at", Timestamp(), nullable=False),
    )
    op.create_index("ix_revoked_token_expires_at", "revoked_token", ["expires_at"])
