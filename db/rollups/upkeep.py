"""Maintains the kept counts of runs: sums the changes, and counts the runs that are older than the triggers.

`run_rollup` and `run_rollup_delta` count together: a reader adds them up in one statement. Summing moves rows from one
to the other in one transaction, so it changes no answer and can be interrupted at any time.

`fill` counts old runs range by range of their creation times, while other transactions change them. Nothing is summed
until all are counted. One statement counts a range: it adds the runs in their present state, and subtracts their
visible changes. So it adds the state of the runs before the kept changes. Whether a change commits before or after the
statement, the changes that are summed later lead from that state to the present one.

Each of these functions locks the row of `run_rollup_state`.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Integer,
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from db.core.unit_of_work import UnitOfWork
from db.models import RUN_ROLLUP_DELTA, FlowRun, RunRollup, RunRollupState
from db.models.runs.run_rollup import SLOT_SECONDS
from db.models.types import EPOCH, table
from db.rollups.levels import Slot, by_level
from domain import ids

_rollups = table(RunRollup)
_rollup = _rollups.c
_delta = RUN_ROLLUP_DELTA.c
_states = table(RunRollupState)
_run = table(FlowRun).c

_LOCK = select(_states.c.filled_until).with_for_update()
_LOCK_UNLESS_HELD = select(_states.c.filled_until).with_for_update(skip_locked=True)
_SIZE = bindparam("size", type_=Integer)
_SLOT = timedelta(seconds=SLOT_SECONDS)
_REMAINING = select(func.count()).select_from(
    select(literal_column("1")).select_from(RUN_ROLLUP_DELTA).limit(_SIZE).subquery()
)
_REMOVE_EMPTY = delete(_rollups).where(_rollup.runs == 0, _rollup.total_ms == 0)
_VACUUM = text("VACUUM run_rollup_delta")
_DELTA_BYTES = text("SELECT pg_relation_size('run_rollup_delta')")
MAX_DELTA_BYTES = 4 * 1024 * 1024
"""Bytes from which the table of changes is vacuumed on PostgreSQL: every answer reads the whole table."""


def runs_as_changes(*where: ColumnElement[bool]) -> Select[Any]:
    """Returns the query for runs as the changes that create them, with the columns of `run_rollup_delta`."""
    return select(
        _run.project_id,
        _run.flow_id,
        Slot(_run.created_at).label("slot"),
        _run.environment,
        _run.trigger_method,
        _run.status,
        _run.archived_at.is_not(None).label("archived"),
        _run.failed_step_name,
        _run.duration_ms,
        literal_column("1", _delta.runs.type).label("runs"),
    ).where(*where)


def needs_upkeep(conn: Connection) -> bool:
    """True if there are changes to sum, or old runs to count."""
    is_filling = conn.execute(select(_states.c.filled_until)).scalar_one() is not None
    return is_filling or conn.execute(_REMAINING, {"size": 1}).scalar_one() > 0


def sum_up(uow: UnitOfWork, size: int) -> bool:
    """Sums about `size` changes. Returns True if more are left.

    Does nothing while another process sums, or old runs are being counted.
    """
    state = uow.conn.execute(_LOCK_UNLESS_HELD).first()
    if state is None or state.filled_until is not None:
        return False
    if uow.conn.dialect.name == "sqlite":
        through = uow.conn.execute(_SQLITE_THROUGH, {"size": size}).scalar()
        if through is not None:
            uow.conn.execute(_SQLITE_SUM, {"through": through})
            uow.conn.execute(_SQLITE_REMOVE, {"through": through})
    else:
        uow.conn.execute(_POSTGRESQL_SUM, {"size": size})
    return bool(uow.conn.execute(_REMAINING, {"size": size}).scalar_one() == size)


def fill(uow: UnitOfWork, size: int) -> bool:
    """Counts about `size` old runs, those created first. Returns True if there are more.

    Does nothing while another process counts them.
    """
    state = uow.conn.execute(_LOCK_UNLESS_HELD).first()
    if state is None or state.filled_until is None:
        return False
    since = state.filled_until
    until = _end_of_range(uow.conn, since, size)
    uow.conn.execute(_fill_range(uow.conn.dialect.name, since, until))
    uow.conn.execute(update(_states).values(filled_until=until))
    return until is not None


def start_again(uow: UnitOfWork) -> None:
    """Deletes all counts. `fill` counts every run again; until then, answers read the runs."""
    uow.conn.execute(_LOCK)
    uow.conn.execute(delete(_rollups))
    uow.conn.execute(delete(RUN_ROLLUP_DELTA))
    uow.conn.execute(update(_states).values(filled_until=EPOCH))


def remove_empty(uow: UnitOfWork) -> None:
    """Deletes the counts that are 0."""
    if uow.conn.execute(_LOCK_UNLESS_HELD).first() is not None:
        uow.conn.execute(_REMOVE_EMPTY)


def vacuum(conn: Connection) -> None:
    """Frees the space of summed changes. PostgreSQL's own vacuum would free it a minute later."""
    if conn.dialect.name == "postgresql" and conn.execute(_DELTA_BYTES).scalar_one() > MAX_DELTA_BYTES:
        conn.execute(_VACUUM)


def _end_of_range(conn: Connection, since: datetime, size: int) -> datetime | None:
    """Returns the start of the slot of the run that has `size` older runs to count; None if there are fewer."""
    query = select(_run.id).where(_run.id >= ids.first_uuid_at(since)).order_by(_run.id).offset(size).limit(1)
    next_id = conn.execute(query).scalar()
    if next_id is None:
        return None
    begin = EPOCH + (ids.created_at(next_id) - EPOCH) // _SLOT * _SLOT
    return max(begin, since + _SLOT)


def _fill_range(dialect: str, since: datetime, until: datetime | None) -> Insert:
    in_range = [_run.id >= ids.first_uuid_at(since)]
    changed_in_range = [_delta.slot >= (since - EPOCH) // _SLOT]
    if until is not None:
        in_range.append(_run.id < ids.first_uuid_at(until))
        changed_in_range.append(_delta.slot < (until - EPOCH) // _SLOT)
    columns = [column for column in _delta if column.name != "runs"]
    undone = select(*columns, (-_delta.runs).label("runs")).where(*changed_in_range)
    return _add(dialect, by_level(union_all(runs_as_changes(*in_range), undone).subquery("changes")))


def _add(dialect: str, sums: Select[Any]) -> Insert:
    """Returns the statement that adds sums to the counts."""
    names = [column.name for column in sums.selected_columns]
    statement: Any = (sqlite if dialect == "sqlite" else postgresql).insert(_rollups).from_select(names, sums)
    added = {name: _rollup[name] + statement.excluded[name] for name in ("runs", "total_ms")}
    return statement.on_conflict_do_update(index_elements=list(_rollups.primary_key), set_=added)  # type: ignore[no-any-return]


_rowid: ColumnElement[int] = literal_column("rowid", Integer)
_some_rows = select(_rowid.label("number")).select_from(RUN_ROLLUP_DELTA).order_by(_rowid).limit(_SIZE).subquery()
_SQLITE_THROUGH = select(func.max(_some_rows.c.number))
_up_to = _rowid <= bindparam("through", type_=Integer)
_SQLITE_SUM = _add("sqlite", by_level(select(RUN_ROLLUP_DELTA).where(_up_to).subquery("taken")))
_SQLITE_REMOVE = delete(RUN_ROLLUP_DELTA).where(_up_to)

_row: ColumnElement[Any] = literal_column("ctid")
_some = func.array(select(_row).select_from(RUN_ROLLUP_DELTA).limit(_SIZE).scalar_subquery())
_taken = delete(RUN_ROLLUP_DELTA).where(_row == func.any(_some)).returning(*_delta).cte("taken")
_POSTGRESQL_SUM = _add("postgresql", by_level(_taken))
