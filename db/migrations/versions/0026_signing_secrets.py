"""Signing secrets of webhooks, encrypted.

Revision ID: 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the columns, which are null in old rows: workers, which have the keys, encrypt what stands there in clear."""
    op.add_column("webhook", sa.Column("signature_key_id", sa.Text(), nullable=True))
    op.add_column("webhook", sa.Column("signature_sealed", sa.Text(), nullable=True))
