"""Changes of runs are not before their creation.

Revision ID: 0036
"""

from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Moves changes to the creation where a clock that was set back had put them before it: filters rely on it."""
    op.execute("UPDATE flow_run SET updated_at = created_at WHERE updated_at < created_at")
