"""Sessions of people who sign in through an identity provider; the oldest version that can use the schema.

Revision ID: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the columns. Keys and bulk operations that exist belong to no person."""
    op.add_column("api_key", sa.Column("user_id", sa.Uuid(), nullable=True))
    op.add_column("api_key", sa.Column("granted_project_ids", sa.Text(), nullable=True))
    op.add_column("bulk_operation", sa.Column("user_id", sa.Uuid(), nullable=True))
    op.create_table("alembic_version_oldest", sa.Column("version_num", sa.Text(), nullable=False))
    op.execute("INSERT INTO alembic_version_oldest VALUES ('0028')")
