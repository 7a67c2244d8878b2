"""Limits of concurrency, quotas, and how long step data are kept.

Revision ID: 0003_limits
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0003_limits"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, the table and the indexes."""
    for name in ("max_concurrent_runs", "quota_runs", "retention_days"):
        op.add_column("project", sa.Column(name, sa.Integer()))
    op.add_column("project", sa.Column("quota_period", sa.Text()))
    op.add_column("flow", sa.Column("max_concurrent_runs", sa.Integer()))
    op.add_column("flow_run", sa.Column("held_at", Timestamp()))
    op.add_column("flow_run", sa.Column("held_by", sa.Uuid()))
    op.create_table(
        "quota_use",
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), primary_key=True),
        sa.Column("period", sa.Text(), primary_key=True),
        sa.Column("began_at", Timestamp(), primary_key=True),
        sa.Column("used", sa.Integer(), nullable=False),
    )
    _create_index("ix_flow_limited", "flow", ["project_id"], "max_concurrent_runs IS NOT NULL")
    _create_index("ix_run_held", "flow_run", ["held_by", "held_at"], "held_by IS NOT NULL")
    kept = "finished_at IS NOT NULL AND steps_purged_at IS NULL"
    _create_index("ix_run_kept", "flow_run", ["project_id", "finished_at"], kept)


def _create_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
