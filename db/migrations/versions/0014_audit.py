"""The audit log, who did what to runs, and what is known of API keys.

Revision ID: 0014
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0014"
down_revision = "0013"

_INDEXES = (
    ("project", ["project_id", "id"], None),
    ("actor", ["actor_id", "id"], None),
    ("object", ["object_id", "id"], None),
    ("flow", ["flow_id", "id"], "flow_id IS NOT NULL"),
    ("action", ["action", "id"], "action <> 'START_RUN'"),
)


def upgrade() -> None:
    """Add the table and the columns. Nobody knows who acted before."""
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("created_at", Timestamp(), nullable=False),
    )
    for name, columns, condition in _INDEXES:
        where = sa.text(condition) if condition else None
        op.create_index(f"ix_audit_event_{name}", "audit_event", columns, sqlite_where=where, postgresql_where=where)
    for name in ("started_by", "retried_by", "cancelled_by", "archived_by"):
        op.add_column("flow_run", sa.Column(name, sa.Text(), nullable=True))
    # These were the names of API keys.
    for table, column in (("step_result", "completed_by"), ("secret", "changed_by")):
        named: sa.ColumnClause[str] = sa.column(column, sa.Text)
        to_json = sa.func.json_object if op.get_bind().dialect.name == "sqlite" else sa.func.json_build_object
        members: list[sa.ColumnClause[str]] = [
            sa.literal_column(text) for text in ("'kind'", "'API_KEY'", "'id'", "NULL", "'name'")
        ]
        actor = sa.cast(to_json(*members, named), sa.Text)
        op.execute(sa.update(sa.table(table, named)).values({column: actor}).where(named.is_not(None)))
    op.add_column("input_request", sa.Column("answered_by", sa.Text(), nullable=True))
    op.add_column("api_key", sa.Column("created_by", sa.Text(), nullable=True))
    op.add_column("api_key", sa.Column("last_used_at", Timestamp(), nullable=True))
    op.add_column("api_key", sa.Column("replaces_id", sa.Uuid(), nullable=True))
    op.create_index("ix_api_key_project", "api_key", ["project_id", "id"])
