"""On SQLite, triggers note the runs whose tags, metadata and errors are not in their indexes yet.

A statement whose triggers call functions copies each page before it changes it, which took two thirds of the time of
the INSERT of a run (`db.runs.indexes`). Versions before this one do not add the noted runs to the indexes, so they must
not use the schema.

Revision ID: 0033
"""

from alembic import op
from sqlalchemy import Connection

from db import text_indexes

revision = "0033"
down_revision = "0032"

_NOTE_TERMS = """
    CREATE TRIGGER run_term_insert AFTER INSERT ON flow_run WHEN NEW.tags <> '[]' OR NEW.metadata <> '{}'
    BEGIN INSERT INTO unindexed_run (kind, run_id) VALUES ('TERMS', NEW.id); END
"""


def upgrade() -> None:
    """Make the table, and the triggers again."""
    conn = op.get_bind()
    if conn.dialect.name != "sqlite":
        return
    op.execute("CREATE TABLE IF NOT EXISTS unindexed_run (kind TEXT NOT NULL, run_id CHAR(32) NOT NULL)")
    op.execute("DROP TRIGGER run_term_insert")
    op.execute(_NOTE_TERMS)
    if text_indexes.exists(conn):
        _note_errors(conn)
    op.execute("UPDATE alembic_version_oldest SET version_num = '0033'")


def _note_errors(conn: Connection) -> None:
    for name in ("insert", "update"):
        conn.exec_driver_sql(f"DROP TRIGGER {text_indexes.ERROR_TEXT}_{name}")
    for statement in text_indexes.SQLITE_TRIGGERS:
        conn.exec_driver_sql(statement)
