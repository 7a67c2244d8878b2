"""The inbox, what runs wait for, notes and summaries of runs, answer links and saved views.

Revision ID: 0017
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0017"
down_revision = "0018"

_WAITS_FOR = """
    UPDATE flow_run SET waits_for = CASE
        WHEN EXISTS (SELECT 1 FROM input_request WHERE run_id = flow_run.id AND input_request.status = 'PENDING')
            THEN 'PERSON'
        WHEN EXISTS (SELECT 1 FROM step_result
                     WHERE run_id = flow_run.id AND step_result.status = 'PAUSED' AND kind = 'flow')
            THEN 'CHILDREN'
        ELSE 'TIME' END
    WHERE status = 'PAUSED'
"""
_OF_RUN = "(SELECT {0} FROM flow_run WHERE flow_run.id = input_request.run_id)"
_ANSWERED_BY = "(SELECT name FROM api_key WHERE api_key.id = input_request.answered_by_key_id)"


def upgrade() -> None:
    """Add columns, fill those of old rows from what is known of them, and add the tables."""
    for name in ("waits_for", "summary", "note"):
        op.add_column("flow_run", sa.Column(name, sa.Text(), nullable=True))
    op.execute(_WAITS_FOR)
    paused = sa.text("status = 'PAUSED'")
    columns = ["project_id", "waits_for", "id"]
    op.create_index("ix_run_waiting", "flow_run", columns, sqlite_where=paused, postgresql_where=paused)
    op.create_index("ix_flow_version_flow", "flow_version", ["flow_id", "id"])
    op.create_index("ix_schedule_project", "schedule", ["project_id", "id"])
    _fill_input_requests()
    _create_tables()


def _fill_input_requests() -> None:
    for name in ("project_id", "flow_id"):
        op.add_column("input_request", sa.Column(name, sa.Uuid(), nullable=True))
    op.add_column("input_request", sa.Column("answered_by", sa.Text(), nullable=True))
    project, flow = (_OF_RUN.format(name) for name in ("project_id", "flow_id"))
    op.execute(
        f"UPDATE input_request SET project_id = {project}, flow_id = {flow}, answered_by = {_ANSWERED_BY}"  # noqa: S608
    )
    with op.batch_alter_table("input_request", reflect_kwargs={"resolve_fks": False}) as table:
        table.alter_column("project_id", existing_type=sa.Uuid(), nullable=False)
        table.alter_column("flow_id", existing_type=sa.Uuid(), nullable=False)
    op.create_index("ix_input_request_project", "input_request", ["project_id", "id"])
    op.create_index("ix_input_request_status", "input_request", ["project_id", "status", "id"])
    op.create_index("ix_input_request_flow", "input_request", ["flow_id", "id"])
    assigned = sa.text("assignee IS NOT NULL")
    columns = ["project_id", "assignee", "id"]
    op.create_index(
        "ix_input_request_assignee", "input_request", columns, sqlite_where=assigned, postgresql_where=assigned
    )


def _create_tables() -> None:
    op.create_table(
        "answer_link",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False, unique=True),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("expires_at", Timestamp(), nullable=False),
        sa.Column("used_at", Timestamp()),
    )
    op.create_index("ix_answer_link_request", "answer_link", ["request_id", "id"])
    op.create_table(
        "saved_view",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("project_id", sa.Uuid()),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("created_at", Timestamp(), nullable=False),
        sa.Column("updated_at", Timestamp(), nullable=False),
    )
    op.create_index("ix_saved_view_key", "saved_view", ["key_id", "id"])
    shared = sa.text("shared")
    op.create_index(
        "ix_saved_view_shared", "saved_view", ["project_id", "id"], sqlite_where=shared, postgresql_where=shared
    )
