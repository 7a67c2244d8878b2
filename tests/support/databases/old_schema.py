"""Databases at earlier revisions."""

from db.core.database import Database
from db.core.unit_of_work import CommitSteps
from db.events import log as event_log


def open_at_old_schema(url: str) -> Database:
    """Opens a database at an earlier revision. The steps before a commit are left out: they need later tables."""
    return Database(url, CommitSteps(of_unit=(), append_events=event_log.write))
