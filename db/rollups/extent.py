"""Finds from kept counts before when all runs that match a filter were created.

A page of the failed runs of a flow, of the runs in an environment or of archived runs is read from an index that holds
other runs too. When the last matching run is old, all newer runs of that index are looked at first; when there is none,
all its runs. The counts of each day know that before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, select, true, union_all

from db import projects
from db.core.short_memory import ShortMemory
from db.models import RUN_ROLLUP_DELTA, RunRollup, RunRollupState
from db.models.runs.run_rollup import SLOT_SECONDS
from db.models.types import EPOCH, table
from db.rollups import levels
from db.rollups.levels import ALL_FLOWS, ALL_TIME, DAY, ENVIRONMENT, FLOW, TRIGGER, Measure
from domain.runs.filter_field import Archived, Operator
from domain.runs.run_filter import RunFilter
from domain.time import clock

_rollup = table(RunRollup).c
_delta = RUN_ROLLUP_DELTA.c
_states = table(RunRollupState)

_MOST_OWNERS = 20
"""Flows, or projects, up to this number have a part of the query each."""
_RECENT = timedelta(days=2)
"""Runs that are not older than this are soon found without a bound."""
_KEPT_STATEMENTS = 500
"""Statements that are kept, of the filters asked for last."""

_recent: ShortMemory[RunFilter, bool] = ShortMemory(seconds=60, size=1_000)
"""The filters that match recent runs: reads of these ask no counts."""


def is_searchable(where: RunFilter) -> bool:
    """Returns True if no index has the runs of the filter in order, but counts know the days of their creation."""
    if where.ids is not None:
        return False
    restricted = (where.flow_ids, where.statuses, where.trigger_methods, where.failed_step_name)
    return (
        where.environments is not None
        or where.archived is Archived.ONLY
        or sum(values is not None for values in restricted) > 1
    )


def bounded(conn: Connection, where: RunFilter) -> RunFilter:
    """Returns a filter that matches the same runs, with the end of the last day in which one of them was created; if
    none was, the filter names no run.

    Returns the filter unchanged if it names its runs, if these are recent, or the counts do not say when they were
    created, if it spans many projects, and while old runs are being counted.
    """
    if not is_searchable(where) or (owners := projects.few(conn, where.project_ids)) is None:
        return where
    counted = _counted(where, owners)
    if _recent.find(conn.engine.pool, counted):
        return where
    days = conn.execute(_last_days(counted)).scalars().all()
    if not days:
        return where
    slots = [slot for slot in days if slot is not None]
    if not slots:
        return replace(where, ids=())
    before = EPOCH + timedelta(seconds=(max(slots) + DAY) * SLOT_SECONDS)
    if not _has_days(counted) or before > clock.now() - _RECENT:
        _recent.put(conn.engine.pool, counted, value=True)
        return where
    return replace(where, created_before=before if where.created_before is None else min(before, where.created_before))


def _counted(where: RunFilter, project_ids: Sequence[UUID]) -> RunFilter:
    """Returns the part of a filter that the counts of one level know."""
    flow_ids = where.flow_ids
    if flow_ids is not None and len(flow_ids) * len(project_ids) > _MOST_OWNERS:
        flow_ids = None
    by_flow = flow_ids is not None or where.failed_step_name is not None
    return RunFilter(
        project_ids=tuple(project_ids),
        flow_ids=flow_ids,
        environments=where.environments,
        # Only levels by flow count by both of these.
        trigger_methods=where.trigger_methods if by_flow or where.environments is None else None,
        statuses=where.statuses,
        failed_step_name=where.failed_step_name,
        archived=where.archived,
    )


def _has_days(counted: RunFilter) -> bool:
    """Returns False if the counts of each day would not be read in their order: steps are counted by flow. Then the
    counts of all time say whether there is a run."""
    return counted.failed_step_name is None or counted.flow_ids is not None


@lru_cache(_KEPT_STATEMENTS)
def _last_days(counted: RunFilter) -> Select[Any]:
    """Returns the query for the last days in which matching runs were created, by their first slots: of each project or
    flow, and of the changes that are not yet summed.

    It returns no row while old runs are being counted, and otherwise at least one, which may be null.
    """
    restricted = {declared.column for declared, _ in counted.restrictions()} & {FLOW, ENVIRONMENT, TRIGGER}
    measure = Measure.RUNS if counted.failed_step_name is None else Measure.FAILURES
    span = DAY if _has_days(counted) else ALL_TIME
    level = levels.by_span(measure, restricted)[span]
    changed = select(func.max(_delta.slot - _delta.slot % span).label("slot"))
    parts = [changed.where(*_conditions(counted, _delta))]
    any_flow = [None if FLOW in level.columns else ALL_FLOWS]
    for project_id, flow_id in product(counted.project_ids or (), counted.flow_ids or any_flow):
        # These columns begin the index of the table, and the slot follows.
        owner = [_rollup.level == level.number, _rollup.project_id == project_id]
        if flow_id is not None:
            owner.append(_rollup.flow_id == flow_id)
        of_owner = select(_rollup.slot).where(*owner, *_conditions(counted, _rollup))
        parts.append(of_owner.order_by(_rollup.slot.desc()).limit(1))
    found = union_all(*(select(part.subquery().c.slot) for part in parts)).subquery("found")
    return select(found.c.slot).select_from(_states.outerjoin(found, true())).where(_states.c.filled_until.is_(None))


def _conditions(counted: RunFilter, source: Any) -> Iterator[ColumnElement[bool]]:
    yield source.runs > 0
    for declared, value in counted.restrictions():
        if declared.operator is Operator.ARCHIVED:
            yield source.archived.is_(value is Archived.ONLY)
        elif declared.operator is Operator.EQUALS:
            yield source[declared.column] == value
        elif not (source is _rollup and declared.column in ("project_id", FLOW)):
            yield source[declared.column].in_(value)
