"""Counts of runs, kept by triggers.

From the commit of this migration on, changes of runs are counted, whoever makes them. It only adds empty tables and the
triggers, for which it waits for the transactions that write runs; maintenance counts the runs that are there already.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op

from db.models.types import Timestamp

revision = "0010"
down_revision = "0012"

_COLUMNS = "project_id, flow_id, slot, environment, trigger_method, status, archived, failed_step_name, duration_ms"
_SOURCES = (
    "{row}.project_id, {row}.flow_id, {slot}, {row}.environment, {row}.trigger_method, {row}.status,"
    " {row}.archived_at IS NOT NULL, {row}.failed_step_name, {row}.duration_ms"
)
_SLOTS = {
    "postgresql": "CAST(floor(extract(epoch FROM {row}.created_at) / 900) AS integer)",
    "sqlite": "({row}.created_at / 900000000)",
}
_CHANGED = (
    "UPDATE OF status, archived_at, failed_step_name, duration_ms ON flow_run WHEN OLD.status <> NEW.status"
    " OR (OLD.archived_at IS NULL) <> (NEW.archived_at IS NULL)"
    " OR OLD.failed_step_name IS NOT NEW.failed_step_name OR OLD.duration_ms IS NOT NEW.duration_ms"
)


def upgrade() -> None:
    """Create the tables and the triggers."""
    op.create_table(
        "run_rollup",
        sa.Column("level", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("project_id", sa.Uuid(), primary_key=True),
        sa.Column("flow_id", sa.Uuid(), primary_key=True),
        sa.Column("slot", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("environment", sa.Text(), primary_key=True),
        sa.Column("trigger_method", sa.Text(), primary_key=True),
        sa.Column("status", sa.Text(), primary_key=True),
        sa.Column("archived", sa.Boolean(), primary_key=True),
        sa.Column("failed_step_name", sa.Text(), primary_key=True),
        sa.Column("duration_bucket", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("total_ms", sa.BigInteger(), nullable=False),
        postgresql_with={"fillfactor": 70},
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_rollup_delta",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("trigger_method", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("failed_step_name", sa.Text()),
        sa.Column("duration_ms", sa.BigInteger()),
        sa.Column("runs", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "run_rollup_state",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("filled_until", Timestamp()),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_run_rollup_empty", "run_rollup", ["level"], sqlite_where=sa.text("runs = 0"))
        _create_sqlite_triggers()
        epoch = "0"
    else:
        for name, event, signs in (
            ("created", "INSERT", {"new_rows": 1}),
            ("updated", "UPDATE", {"old_rows": -1, "new_rows": 1}),
            ("deleted", "DELETE", {"old_rows": -1}),
        ):
            _create_postgresql_trigger(f"count_{name}_runs", event, signs)
        epoch = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"
    # After the triggers: from here on nobody writes a run that they do not see.
    op.execute(
        "INSERT INTO run_rollup_state (id, filled_until)"  # noqa: S608
        f" SELECT 1, CASE WHEN EXISTS (SELECT 1 FROM flow_run) THEN {epoch} END"
    )


def _sources(dialect: str, row: str) -> str:
    return _SOURCES.format(row=row, slot=_SLOTS[dialect].format(row=row))


def _create_postgresql_trigger(name: str, event: str, signs: dict[str, int]) -> None:
    rows = " UNION ALL ".join(
        f"SELECT {_sources('postgresql', row)}, {sign} FROM {row}"  # noqa: S608
        for row, sign in signs.items()
    )
    transition_tables = " ".join(f"{row.removesuffix('_rows').upper()} TABLE AS {row}" for row in signs)
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"  # noqa: S608
        f" INSERT INTO run_rollup_delta ({_COLUMNS}, runs) SELECT {_COLUMNS}, sum(change)"
        f" FROM ({rows}) AS changes ({_COLUMNS}, change) GROUP BY {_COLUMNS} HAVING sum(change) <> 0;"
        " RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event} ON flow_run REFERENCING {transition_tables}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )


def _create_sqlite_triggers() -> None:
    for name, event, signs in (
        ("created", "INSERT ON flow_run", {"NEW": 1}),
        ("updated", _CHANGED, {"OLD": -1, "NEW": 1}),
        ("deleted", "DELETE ON flow_run", {"OLD": -1}),
    ):
        values = ", ".join(f"({_sources('sqlite', row)}, {sign})" for row, sign in signs.items())
        op.execute(
            f"CREATE TRIGGER count_{name}_runs AFTER {event} BEGIN"  # noqa: S608
            f" INSERT INTO run_rollup_delta ({_COLUMNS}, runs) VALUES {values}; END"
        )
