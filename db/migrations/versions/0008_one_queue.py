"""The run table is the queue, on both databases; columns get the names of the field.

Runs that are not final get the priority that their tickets had. Tickets hold nothing that the run table does not say,
so their tables are dropped with what is in them.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_PRIORITY = """
    UPDATE flow_run
    SET priority = CASE WHEN trigger_method = 'RETRY' AND retry_operation_id IS NULL THEN 20
                        WHEN started_at IS NOT NULL THEN 10 ELSE 0 END
    WHERE status IN ('QUEUED', 'RUNNING', 'PAUSED')
"""
_PGQUEUER = ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules")


def upgrade() -> None:
    """Add the priority, rename columns and a table, drop what only tickets needed."""
    for index in ("ix_run_due", "ix_run_held"):
        op.drop_index(index, "flow_run")
    op.add_column("flow_run", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.execute(_PRIORITY)
    op.alter_column("flow_run", "held_at", new_column_name="blocked_since")
    op.alter_column("flow_run", "held_by", new_column_name="blocked_by")
    op.drop_column("flow_run", "epoch")
    for name, columns in (("ix_run_due", ["priority", "due_at"]), ("ix_run_blocked", ["blocked_by", "blocked_since"])):
        where = sa.text("due_at IS NOT NULL" if name == "ix_run_due" else "blocked_by IS NOT NULL")
        op.create_index(name, "flow_run", columns, sqlite_where=where, postgresql_where=where)
    op.alter_column("bulk_outcome", "foretold", new_column_name="planned_reason")
    op.rename_table("event_horizon", "event_low_watermark")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX IF EXISTS event_horizon_pkey RENAME TO event_low_watermark_pkey")
        for table in _PGQUEUER:
            op.execute(f"DROP TABLE IF EXISTS {table}")
        op.execute("DROP FUNCTION IF EXISTS fn_pgqueuer_changed()")
        op.execute("DROP TYPE IF EXISTS pgqueuer_status")
