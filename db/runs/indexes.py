"""SQLite's indexes of runs that are tables of their own: the terms of tags and metadata, and the texts of errors.

Their rows are computed by functions. SQLite copies each page before a statement with functions changes it, even if they
are called by a trigger that does not fire, so that it can undo the statement alone; that took two thirds of the time of
the INSERT of a run. So triggers only note which runs must be indexed, in `unindexed_run`, and statements that follow in
the same unit of work index them. The triggers miss no way of writing: what another program notes is indexed with the
next unit of work.

PostgreSQL has indexes over the columns themselves.
"""

from typing import Any, cast

from db import text_indexes
from db.core.unit_of_work import UnitOfWork

_NOTED_KINDS = "SELECT DISTINCT kind FROM unindexed_run"
_STATEMENTS = {
    "TERMS": (
        """INSERT OR IGNORE INTO run_term
            SELECT value, run.project_id, run.id FROM flow_run run, json_each(run_terms(run.tags, run.metadata))
            WHERE run.id IN (SELECT run_id FROM unindexed_run WHERE kind = 'TERMS')""",
    ),
    "ERROR": text_indexes.ADD_NOTED,
}
_INDEXED = "DELETE FROM unindexed_run"


def update(uow: UnitOfWork) -> None:
    """Indexes the runs that this unit of work has noted."""
    conn = uow.conn
    if conn.dialect.name != "sqlite":
        return
    # SQLAlchemy would take fifteen times as long to find out that there is nothing to do, which is the usual case.
    noted = cast("Any", conn.connection.dbapi_connection).execute(_NOTED_KINDS).fetchall()
    if not noted:
        return
    for (kind,) in noted:
        for statement in _STATEMENTS[kind]:
            conn.exec_driver_sql(statement)
    conn.exec_driver_sql(_INDEXED)
