"""Bulk operations, and what becomes of each run in them.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0007"
down_revision = "0006"

_COUNTS = ("matched", "processed", "succeeded", "skipped", "failed", "became_eligible", "became_ineligible")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "bulk_operation",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), sa.ForeignKey("project.id"), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=True),
        sa.Column("source_id", sa.Uuid(), nullable=True),
        sa.Column("filter", sa.Text(), nullable=True),
        sa.Column("excluded_ids", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("started_at", Timestamp(), nullable=True),
        sa.Column("finished_at", Timestamp(), nullable=True),
        sa.Column("expires_at", Timestamp(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False, server_default="0") for name in _COUNTS),
        sa.Column("max_per_second", sa.Float(), nullable=True),
        sa.Column("spread_over_ms", sa.BigInteger(), nullable=True),
        sa.Column("paced_through", Timestamp(), nullable=True),
        sa.Column("done_through", sa.Uuid(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", Timestamp(), nullable=True),
    )
    op.create_index("ix_bulk_operation_project", "bulk_operation", ["project_id", "id"])
    op.create_index("ix_bulk_operation_status", "bulk_operation", ["status", "id"])
    keyed = {
        "uq_bulk_operation_idempotency": (["project_id", "idempotency_key"], "project_id IS NOT NULL"),
        "uq_bulk_operation_operator": (["idempotency_key"], "project_id IS NULL"),
    }
    for name, (columns, whose) in keyed.items():
        where = sa.text(f"idempotency_key IS NOT NULL AND {whose}")
        op.create_index(name, "bulk_operation", columns, unique=True, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "bulk_outcome",
        sa.Column("operation_id", sa.Uuid(), primary_key=True),
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("foretold", sa.Text(), nullable=True),
        sa.Column("new_run_id", sa.Uuid(), nullable=True),
        sa.Column("due_at", Timestamp(), nullable=True),
        sa.Column("at", Timestamp(), nullable=True),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 35},
    )
