"""Once installed PGQueuer's tables, on PostgreSQL; revision 0008 drops them where they are.

Revision ID: 0003
"""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Does nothing: the run table is the queue."""
