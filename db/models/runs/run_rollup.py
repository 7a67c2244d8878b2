"""Kept counts of runs: the changes, their sums, and the progress of counting old runs.

Triggers on the table of runs append the changes, so every statement is counted: also those of older versions of the
service, and of people at a database prompt.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DDL, BigInteger, Boolean, Column, Index, Integer, Table, Text, Uuid, event
from sqlmodel import Field, SQLModel

from db.models.types import Timestamp, key

SLOT_SECONDS = 900
"""Seconds in a slot of time, the unit of creation times in kept counts: the offsets of all time zones in use are
multiples of it."""
_COLUMNS = "project_id, flow_id, slot, environment, trigger_method, status, archived, failed_step_name, duration_ms"
_SOURCES = (
    "{row}.project_id, {row}.flow_id, {slot}, {row}.environment, {row}.trigger_method, {row}.status,"
    " {row}.archived_at IS NOT NULL, {row}.failed_step_name, {row}.duration_ms"
)
SLOT_SQL = {
    "postgresql": f"CAST(floor(extract(epoch FROM {{created_at}}) / {SLOT_SECONDS}) AS integer)",
    "sqlite": f"({{created_at}} / {SLOT_SECONDS * 1_000_000})",
}
"""SQL for the number of the slot that holds an instant of 1970 or later, by dialect."""


class RunRollup(SQLModel, table=True):
    """The number of runs that have the same values in the columns by which a level counts.

    Columns by which the level does not count have the placeholders of `db.rollups.levels`, which also numbers the
    levels.
    """

    __tablename__ = "run_rollup"
    # The same rows are updated again and again. An update that stays in its page need not change the index.
    __table_args__ = ({"postgresql_with": {"fillfactor": 70}, "sqlite_with_rowid": False},)

    level: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    project_id: UUID = Field(sa_column=key(primary_key=True))
    flow_id: UUID = Field(sa_column=key(primary_key=True))
    slot: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    """First slot of the span of creation times that is counted."""
    environment: str = Field(sa_column=Column(Text, primary_key=True))
    trigger_method: str = Field(sa_column=Column(Text, primary_key=True))
    status: str = Field(sa_column=Column(Text, primary_key=True))
    archived: bool = Field(sa_column=Column(Boolean, primary_key=True))
    failed_step_name: str = Field(sa_column=Column(Text, primary_key=True))
    duration_bucket: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    """Shortest duration of the bucket, in milliseconds."""
    runs: int = Field(sa_column=Column(BigInteger, nullable=False))
    total_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Sum of the runs' durations in milliseconds, at levels that count by duration."""


class RunRollupState(SQLModel, table=True):
    """Progress of counting the runs that are older than the triggers. The table has one row, which transactions lock
    before they change sums."""

    __tablename__ = "run_rollup_state"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    filled_until: datetime | None = Field(sa_column=Column(Timestamp))
    """Runs created before this instant are counted; None: all runs are."""


RUN_ROLLUP_DELTA = Table(
    "run_rollup_delta",
    SQLModel.metadata,
    Column("project_id", Uuid(), nullable=False),
    Column("flow_id", Uuid(), nullable=False),
    Column("slot", Integer, nullable=False),
    Column("environment", Text, nullable=False),
    Column("trigger_method", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("failed_step_name", Text),
    Column("duration_ms", BigInteger),
    Column("runs", BigInteger, nullable=False),
)
"""Changes that are not yet summed: `runs` more runs (fewer, if negative) have these values.

Triggers only append rows and never update them, so no writer waits for another one.
"""

Index("ix_run_rollup_empty", RunRollup.__table__.c.level, sqlite_where=RunRollup.__table__.c.runs == 0).ddl_if(  # type: ignore[attr-defined]
    dialect="sqlite"
)


def _sources(dialect: str, row: str) -> str:
    return _SOURCES.format(row=row, slot=SLOT_SQL[dialect].format(created_at=f"{row}.created_at"))


def _postgresql_trigger(name: str, command: str, signs: dict[str, int]) -> tuple[str, str]:
    # Values that a statement did not change cancel out, so nothing has to be compared. A join of old and new rows, or a
    # trigger for each row, cost several times as much.
    rows = " UNION ALL ".join(
        f"SELECT {_sources('postgresql', row)}, {sign} FROM {row}"  # noqa: S608 - constants
        for row, sign in signs.items()
    )
    transition_tables = " ".join(f"{row.removesuffix('_rows').upper()} TABLE AS {row}" for row in signs)
    function = (
        f"CREATE FUNCTION count_{name}_runs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"  # noqa: S608
        f" INSERT INTO run_rollup_delta ({_COLUMNS}, runs) SELECT {_COLUMNS}, sum(change)"
        f" FROM ({rows}) AS changes ({_COLUMNS}, change) GROUP BY {_COLUMNS} HAVING sum(change) <> 0;"
        " RETURN NULL; END $$"
    )
    trigger = (
        f"CREATE TRIGGER count_{name}_runs AFTER {command} ON flow_run"
        f" REFERENCING {transition_tables} FOR EACH STATEMENT EXECUTE FUNCTION count_{name}_runs()"
    )
    return function, trigger


def _sqlite_trigger(name: str, event_clause: str, signs: dict[str, int]) -> str:
    values = ", ".join(f"({_sources('sqlite', row)}, {sign})" for row, sign in signs.items())
    return (
        f"CREATE TRIGGER count_{name}_runs AFTER {event_clause} BEGIN"  # noqa: S608
        f" INSERT INTO run_rollup_delta ({_COLUMNS}, runs) VALUES {values}; END"
    )


_CHANGED = (
    "UPDATE OF status, archived_at, failed_step_name, duration_ms ON flow_run WHEN OLD.status <> NEW.status"
    " OR (OLD.archived_at IS NULL) <> (NEW.archived_at IS NULL)"
    " OR OLD.failed_step_name IS NOT NEW.failed_step_name OR OLD.duration_ms IS NOT NEW.duration_ms"
)
TRIGGERS = {
    "postgresql": (
        *_postgresql_trigger("created", "INSERT", {"new_rows": 1}),
        *_postgresql_trigger("updated", "UPDATE", {"old_rows": -1, "new_rows": 1}),
        *_postgresql_trigger("deleted", "DELETE", {"old_rows": -1}),
    ),
    "sqlite": (
        _sqlite_trigger("created", "INSERT ON flow_run", {"NEW": 1}),
        _sqlite_trigger("updated", _CHANGED, {"OLD": -1, "NEW": 1}),
        _sqlite_trigger("deleted", "DELETE ON flow_run", {"OLD": -1}),
    ),
}
"""Statements that create the triggers, by dialect."""

for _dialect, _statements in TRIGGERS.items():
    for _statement in _statements:
        _create: Any = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(SQLModel.metadata, "after_create", _create.execute_if(dialect=_dialect))
