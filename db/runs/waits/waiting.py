"""The waits of live runs: the condition of a filter, and the position of runs in their queues."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, union_all

from db.models import FlowRun
from db.models.types import table
from db.queue import due
from db.sql.rows import fetch_all
from domain.enums import RunStatus, WaitKind
from domain.runs.state_machine import LIVE
from domain.time import clock

_run = table(FlowRun).c

MAX_POSITION = 1_000
"""The last position in a queue that is looked up: counting a long queue for each run of a list would take seconds."""
MAX_PROBES = 500
"""Largest number of SELECTs in one UNION: SQLite accepts no more."""
_PAUSES = (WaitKind.PERSON, WaitKind.CHILDREN, WaitKind.TIME)


def waits_for_any(kinds: Sequence[WaitKind], now: datetime) -> ColumnElement[bool]:
    """Returns the condition for the runs for which `domain.runs.wait.wait_kind` is one of `kinds`."""
    conditions = [_waits_for(kind, now) for kind in kinds if kind not in _PAUSES]
    not_yet = or_(_run.due_at.is_(None), _run.due_at > now)
    if pauses := [kind for kind in kinds if kind in _PAUSES]:
        waits_for = _run.waits_for == pauses[0] if len(pauses) == 1 else _run.waits_for.in_(pauses)
        paused = _run.status == RunStatus.PAUSED
        if WaitKind.TIME in pauses:
            waits_for = or_(waits_for, _run.waits_for.is_(None))
            conditions.append(and_(_run.status == RunStatus.QUEUED, _run.blocked_by.is_(None), not_yet))
        conditions.append(and_(paused, waits_for, _run.blocked_by.is_(None), not_yet))
    return or_(false(), *conditions)


def _waits_for(kind: WaitKind, now: datetime) -> ColumnElement[bool]:
    # The statuses follow from the rest, but the indexes by status hold few live runs.
    if kind is WaitKind.SLOT:
        of_limit = _run.blocked_by.in_([_run.flow_id, _run.project_id])
        return and_(_run.status.in_([RunStatus.QUEUED, RunStatus.PAUSED]), of_limit)
    if kind is WaitKind.RELEASE:
        of_hold = and_(_run.blocked_by != _run.flow_id, _run.blocked_by != _run.project_id)
        return and_(_run.status == RunStatus.QUEUED, of_hold)
    if kind is WaitKind.WORKER:
        return and_(_run.status.in_(sorted(LIVE)), _run.blocked_by.is_(None), _run.due_at <= now)
    running = (_run.status == RunStatus.RUNNING, _run.blocked_by.is_(None), _run.lease_token.is_(None))
    return and_(*running, or_(_run.due_at.is_(None), _run.due_at > now))


def positions_for_slots(conn: Connection, queues: Sequence[UUID]) -> Mapping[UUID, Mapping[UUID, int]]:
    """Returns the positions, from 1, of the first runs in each wait queue, by the flow or project it belongs to."""
    found: dict[UUID, Mapping[UUID, int]] = {}
    for queue in queues:
        query = select(_run.id).where(_run.blocked_by == queue).order_by(_run.blocked_since, _run.id)
        rows = conn.execute(query.limit(MAX_POSITION)).scalars()
        found[queue] = {run_id: number for number, run_id in enumerate(rows, start=1)}
    return found


def positions_for_workers(conn: Connection, _: Sequence[None]) -> Mapping[None, Mapping[UUID, int]]:
    """Returns the positions, from 1, of the first runs in the queue of due runs of all projects, under the key None."""
    ordered: list[UUID] = []
    for priority in due.PRIORITIES:
        query = select(_run.id).where(_run.priority == priority, _run.due_at <= clock.now()).order_by(_run.due_at)
        ordered += (row.id for row in fetch_all(conn, query.limit(MAX_POSITION - len(ordered))))
    return {None: {run_id: number for number, run_id in enumerate(ordered, start=1)}}


def live_child_by_parents(conn: Connection, parents: Sequence[UUID]) -> Mapping[UUID, UUID]:
    """Returns the oldest live child run of each run; runs without one are left out."""
    found: dict[UUID, UUID] = {}
    for start in range(0, len(parents), MAX_PROBES):
        probes = [
            select(_run.parent_run_id, _run.id)
            .where(_run.parent_run_id == parent, _run.status.in_(sorted(LIVE)))
            .order_by(_run.id)
            .limit(1)
            .subquery()
            for parent in parents[start : start + MAX_PROBES]
        ]
        rows = conn.execute(union_all(*(select(probe) for probe in probes)))
        found |= {row.parent_run_id: row.id for row in rows}
    return found
