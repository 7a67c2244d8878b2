"""Indexes of texts, tags, metadata and triggers; texts in the form in which upper and lower case are the same.

An index of texts needs the extension `pg_trgm` on PostgreSQL, and SQLite 3.34: `db.text_indexes` makes them, where that
is possible, after every migration.

Revision ID: 0009
"""

import sqlalchemy as sa
from alembic import op

from db.core.terms import run_terms
from domain.text import fold_column

revision = "0009"
down_revision = "0008"

_BATCH = 1_000
"""Rows read at a time."""
_TEXTS = (
    ("flow", ("id",), "name", "name_folded"),
    ("flow_run", ("id",), "error_message", "error_folded"),
    ("run_log", ("run_id", "number"), "message", "message_folded"),
)
_TERMS = """
    CREATE TABLE run_term (
        term TEXT NOT NULL, project_id CHAR(32) NOT NULL, run_id CHAR(32) NOT NULL,
        PRIMARY KEY (term, project_id, run_id)
    ) WITHOUT ROWID
"""
_INSERT_TERMS = """
    INSERT OR IGNORE INTO run_term
    SELECT value, {run}.project_id, {run}.id FROM {source} json_each(run_terms({run}.tags, {run}.metadata))
"""
_DELETE_TERMS = """
    DELETE FROM run_term WHERE project_id = OLD.project_id AND run_id = OLD.id
    AND term IN (SELECT value FROM json_each(run_terms(OLD.tags, OLD.metadata)))
"""
_HAS_TERMS = "({run}.tags <> '[]' OR {run}.metadata <> '{{}}')"


def upgrade() -> None:
    """Add columns, indexes and, on SQLite, the table of terms with its triggers."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, _, _, column in _TEXTS:
        op.add_column(table, sa.Column(column, sa.Text(), nullable=True))
    for text in _TEXTS:
        _fold(*text)
    latest = "max" if is_sqlite else "greatest"
    op.execute("UPDATE flow_run SET started_at = created_at WHERE started_at < created_at")
    op.execute(
        f"UPDATE flow_run SET finished_at = {latest}(finished_at, coalesce(started_at, created_at))"  # noqa: S608
        " WHERE finished_at < coalesce(started_at, created_at)"
    )
    op.create_index("ix_run_trigger", "flow_run", ["project_id", "trigger_method", "id"])
    failed = sa.text("error_message IS NOT NULL")
    op.create_index("ix_run_error", "flow_run", ["project_id", "id"], sqlite_where=failed, postgresql_where=failed)
    if is_sqlite:
        op.create_index(
            "ix_run_archived", "flow_run", ["project_id", "id"], sqlite_where=sa.text("archived_at IS NOT NULL")
        )
        _add_terms()


def _fold(table: str, key: tuple[str, ...], text: str, column: str) -> None:
    """Fills `column` where `lower` of the text is not what it takes."""
    conn = op.get_bind()
    is_sqlite = conn.dialect.name == "sqlite"
    not_ascii = f"{text} GLOB '*[^ -~]*'" if is_sqlite else f"{text} ~ '[^[:ascii:]]'"
    source = sa.table(table, *(sa.column(name) for name in (*key, text, column)))
    rows = conn.execute(sa.select(*(source.c[name] for name in (*key, text))).where(sa.text(not_ascii))).all()
    same = sa.and_(*(source.c[name] == sa.bindparam(f"of_{name}") for name in key))
    statement = sa.update(source).where(same).values({column: sa.bindparam("folded")})
    found = [
        {**{f"of_{name}": getattr(row, name) for name in key}, "folded": folded}
        for row in rows
        if (folded := fold_column(getattr(row, text))) is not None
    ]
    for start in range(0, len(found), _BATCH):
        conn.execute(statement, found[start : start + _BATCH])


def _add_terms() -> None:
    conn = op.get_bind()
    driver = conn.connection.driver_connection
    assert driver is not None
    driver.create_function("run_terms", 2, run_terms, deterministic=True)
    op.execute(_TERMS)
    where = _HAS_TERMS.format(run="flow_run")
    conn.exec_driver_sql(f"{_INSERT_TERMS.format(run='flow_run', source='flow_run,')} WHERE {where} ORDER BY 1, 2, 3")
    for name, event in (("run_term_insert", "INSERT"), ("run_term_update", "UPDATE OF tags, metadata")):
        body = f"{_INSERT_TERMS.format(run='NEW', source='')};"
        if name == "run_term_update":
            body = f"{_DELETE_TERMS}; {body}"
        when = _HAS_TERMS.format(run="NEW") if event == "INSERT" else "1"
        conn.exec_driver_sql(f"CREATE TRIGGER {name} AFTER {event} ON flow_run WHEN {when} BEGIN {body} END")
