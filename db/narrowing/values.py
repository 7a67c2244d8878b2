"""PostgreSQL's index of the values in the metadata of runs, by path: searches, and how it gets earlier runs.

The GIN index on the metadata finds equal values alone. Triggers keep a row in the table `run_metadata` for each value
that is not null, of objects and lists too: `key`, a hash of its path and its project; `number`, NaN for other types;
`word`, the first characters of a string, empty for other types. SQLite has the table of terms (`db.narrowing.terms`).
"""

import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    column,
    func,
    select,
    text,
    update,
)
from sqlalchemy import table as sql_table

from db import projects
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.narrowing import candidates
from db.narrowing.terms import beyond
from domain.runs.metadata_condition import COMPARISONS, MetadataCondition
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c
_values = sql_table(
    "run_metadata", column("key", BigInteger), column("number", Double), column("word", Text), column("run_id", Uuid())
)
_value = _values.c
_fill = sql_table("run_metadata_fill", column("position", Uuid()), column("last", Uuid()))
"""The last run whose values were added, and the last one to add; null when all are there."""

WORD_LENGTH = 60
"""Number of characters that are kept of a string. Longer prefixes find more runs than match, which costs only a
comparison."""
_NIL = UUID(int=0)
_ADD = text(
    "SELECT run_metadata_write(id, uuid_hash_extended(project_id, 0), '', metadata, true) FROM flow_run"
    " WHERE id > :after AND id <= :until AND metadata <> '{}'"
).bindparams(bindparam("after", type_=Uuid()), bindparam("until", type_=Uuid()))


def is_searchable(where: RunFilter) -> bool:
    """True if the index serves a condition of the filter."""
    return any(map(_is_served, where.metadata_conditions or ()))


def fewest(conn: Connection, where: RunFilter, most: int) -> Sequence[UUID] | None:
    """Returns the fewest runs among which the index finds all that match; None if it finds more than `most`."""
    if not is_searchable(where):
        return None
    owners = projects.few(conn, where.project_ids)
    if owners is None:
        return None
    served = filter(_is_served, where.metadata_conditions or ())
    found = candidates.fewest(
        (conn.execute(_runs_with(condition, owners).limit(most + 1)).scalars().all() for condition in served), most
    )
    return tuple(found) if found is not None and _is_complete(conn) else None


def _is_served(condition: MetadataCondition) -> bool:
    """True if the index serves the condition, and the GIN index, which is smaller, does not."""
    return condition.equals is None and condition.one_of is None and condition.needs_value


def _runs_with(condition: MetadataCondition, projects: Sequence[UUID]) -> Select[Any]:
    """Returns the query for runs among which are all that match the condition."""
    path = bindparam(None, "\x1f".join(condition.path), Text, unique=True)
    keys = [func.hashtextextended(path, func.uuid_hash_extended(key, 0)) for key in projects]
    conditions: list[ColumnElement[bool]] = [_value.key == keys[0] if len(keys) == 1 else _value.key.in_(keys)]
    if condition.bounds:
        conditions.append(_value.number <= math.inf)  # NaN is greater.
        conditions += [COMPARISONS[name](_value.number, bound) for name, bound in condition.bounds.items()]
    elif condition.prefix:
        start = condition.prefix[:WORD_LENGTH]
        conditions.append(_value.number == math.nan)
        conditions.append(and_(_value.word >= start, _value.word < beyond(start)))
    return select(_value.run_id).where(*conditions)


def _is_complete(conn: Connection) -> bool:
    return conn.execute(select(_fill.c.last)).scalar_one() is None


def fill(uow: UnitOfWork, limit: int) -> int:
    """Adds the values of the next `limit` runs, in the order of creation; returns their number, 0 once all are there.

    Goes on where an earlier call, of any process, left off.
    """
    conn = uow.conn
    if conn.dialect.name == "sqlite" or _is_complete(conn):
        return 0
    position, last = conn.execute(select(_fill).with_for_update()).one()
    if last is None:
        return 0
    after = position or _NIL
    # An erasure locks its runs and removes their values: it waits, or has ended before these are read.
    runs = select(_run.id).where(_run.id > after, _run.id <= last).order_by(_run.id).limit(limit)
    keys = conn.execute(runs.with_for_update(read=True)).scalars().all()
    if not keys:
        conn.execute(update(_fill).values(last=None))
        return 0
    until = max(keys)
    conn.execute(_ADD, {"after": after, "until": until})
    conn.execute(update(_fill).values(position=until))
    return len(keys)
