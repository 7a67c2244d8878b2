"""The inbox, and what runs wait for.

Revision ID: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0014"

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


def upgrade() -> None:
    """Add columns, and fill those of old rows from what is known of them."""
    op.add_column("flow_run", sa.Column("waits_for", sa.Text(), nullable=True))
    op.execute(_WAITS_FOR)
    paused = sa.text("status = 'PAUSED'")
    columns = ["project_id", "waits_for", "id"]
    op.create_index("ix_run_waiting", "flow_run", columns, sqlite_where=paused, postgresql_where=paused)
    _fill_input_requests()


def _fill_input_requests() -> None:
    for name in ("project_id", "flow_id"):
        op.add_column("input_request", sa.Column(name, sa.Uuid(), nullable=True))
    project, flow = (_OF_RUN.format(name) for name in ("project_id", "flow_id"))
    op.execute(f"UPDATE input_request SET project_id = {project}, flow_id = {flow}")  # noqa: S608
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
