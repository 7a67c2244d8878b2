"""URLs of endpoints, encrypted.

Revision ID: 0034
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Add the columns, which are null in old rows: workers, which have the keys, encrypt what stands there in clear."""
    op.add_column("endpoint", sa.Column("url_key_id", sa.Text(), nullable=True))
    op.add_column("endpoint", sa.Column("url_sealed", sa.Text(), nullable=True))
