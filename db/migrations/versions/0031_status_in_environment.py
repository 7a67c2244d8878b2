"""The index of statuses has the environment; on SQLite, the table of terms has the empty objects and lists in metadata.

Revision ID: 0031
"""

from alembic import op

from db.core.terms import run_terms

revision = "0031"
down_revision = "0030"

_ADD_TERMS = """
    INSERT OR IGNORE INTO run_term
    SELECT value, flow_run.project_id, flow_run.id
    FROM flow_run, json_each(run_terms(flow_run.tags, flow_run.metadata))
    WHERE flow_run.metadata LIKE '%{}%' AND flow_run.metadata <> '{}' OR flow_run.metadata LIKE '%[]%'
"""
"""Texts in the metadata may contain these characters, too: then the run has all of its terms already."""


def upgrade() -> None:
    """Make the index again, and add the terms."""
    conn = op.get_bind()
    if conn.dialect.name != "sqlite":
        # Reads go on while the new index is made.
        op.create_index("ix_run_project_status_new", "flow_run", ["project_id", "status", "id", "environment"])
        op.drop_index("ix_run_project_status", "flow_run")
        op.execute("ALTER INDEX ix_run_project_status_new RENAME TO ix_run_project_status")
        return
    op.drop_index("ix_run_project_status", "flow_run")
    op.create_index("ix_run_project_status", "flow_run", ["project_id", "status", "id", "archived_at", "environment"])
    driver = conn.connection.driver_connection
    assert driver is not None
    driver.create_function("run_terms", 2, run_terms, deterministic=True)
    conn.exec_driver_sql(_ADD_TERMS)
