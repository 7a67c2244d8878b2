"""Tickets: on PostgreSQL, a job of PGQueuer's table says *look at this run now*.

A ticket is `run ID:epoch`. Whoever makes a run due notes that (`want`), and at the end of the same transaction one
statement writes the tickets of all runs noted (`issue`): run and ticket commit together. What a ticket says is read
from the run's row, so it cannot disagree with it, and a run has at most one for each epoch.

A worker takes tickets and claims their runs in one transaction (`journal.claim_tickets`). From then on the run's lease
says whose it is, so a run under way, or one that waits without an end, has no ticket. The tables decide: a ticket lost
is written anew by `sweep`, a stale one is dropped.

SQLite has no tickets; there the run table alone is the queue, and nothing here does anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from db.core.unit_of_work import UnitOfWork

BY_HAND = 20
"""Priority of a run that somebody retried; not of one that a bulk operation did."""
UNDER_WAY = 10
"""Priority of a run that has begun: what is half done goes before what is new."""
NEW = 0
"""Priority of all other runs."""

_RUNS = "CAST(:run_ids AS uuid[])"
_TICKET = "run.id::text || ':' || run.epoch"

_WAITS = "run.due_at IS NOT NULL AND run.lease_token IS NULL"
_VALID = "status IN ('queued', 'picked')"
_QUEUED = "entrypoint = 'flow_run' AND status = 'queued'"


def _write(which: str, on_conflict: str) -> TextClause:
    """Tickets for the runs `which`; always in one order, so that two who write the same ones never lock up."""
    return text(f"""
        INSERT INTO pgqueuer (entrypoint, status, dedupe_key, payload, execute_after, priority)
        SELECT 'flow_run', 'queued', {_TICKET}, convert_to({_TICKET}, 'UTF8'), run.due_at,
               CASE WHEN run.trigger_method = 'RETRY' AND run.retry_operation_id IS NULL THEN {BY_HAND}
                    WHEN run.started_at IS NOT NULL THEN {UNDER_WAY} ELSE {NEW} END
        FROM flow_run AS run
        WHERE {which}
        ORDER BY run.due_at, run.id
        ON CONFLICT (dedupe_key) WHERE {_VALID} AND dedupe_key IS NOT NULL DO {on_conflict}
    """)  # noqa: S608 - constants of this file


_ISSUE = _write(f"run.id = ANY({_RUNS}) AND {_WAITS}", "UPDATE SET execute_after = excluded.execute_after")
_SAME_EPOCH = f"(run.id, run.epoch) IN (SELECT * FROM unnest({_RUNS}, CAST(:epochs AS integer[])))"  # noqa: S608
_REISSUE = _write(f"{_SAME_EPOCH} AND {_WAITS}", "NOTHING")
_SWEEP = _write(
    f"""run.due_at > :since AND run.due_at <= :now
        AND NOT EXISTS (SELECT FROM pgqueuer WHERE dedupe_key = {_TICKET} AND {_VALID})""",
    "NOTHING",
)
# One priority after the other, each from its place in the one index that has them in this order: a planner with
# statistics from before a burst of tickets would else sort all that are due, for each claim anew, and one index over
# all priorities has those that are due later in between.
_EACH_PRIORITY = f"unnest(ARRAY[{BY_HAND}, {UNDER_WAY}, {NEW}]) AS level(priority)"
_OF_PRIORITY = f"{_QUEUED} AND priority = level.priority"
_TAKE = text(f"""
    DELETE FROM pgqueuer WHERE id = ANY(ARRAY(
        SELECT ticket.id
        FROM {_EACH_PRIORITY}, LATERAL (
            SELECT id FROM pgqueuer
            WHERE {_OF_PRIORITY} AND execute_after <= :now
            ORDER BY execute_after, id
            LIMIT :at_most
            FOR UPDATE SKIP LOCKED) AS ticket
        LIMIT :at_most))
    RETURNING convert_from(payload, 'UTF8') AS ticket, priority, execute_after, id
""")  # noqa: S608 - constants of this file
_NEXT = text(f"""
    SELECT min(ticket.execute_after)
    FROM {_EACH_PRIORITY}, LATERAL (
        SELECT execute_after FROM pgqueuer WHERE {_OF_PRIORITY} ORDER BY execute_after LIMIT 1) AS ticket
""")  # noqa: S608 - constants of this file
_DROP_ORPHANS = text(f"""
    DELETE FROM pgqueuer WHERE {_QUEUED} AND execute_after <= :now
    AND NOT EXISTS (SELECT FROM flow_run AS run WHERE run.id = split_part(dedupe_key, ':', 1)::uuid
                    AND {_TICKET} = dedupe_key AND run.due_at IS NOT NULL)
""")  # noqa: S608 - constants of this file
_PRUNE_LOG = text("DELETE FROM pgqueuer_log WHERE created < :before")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A run to be looked at, as it was handed to the workers for the `epoch`th time."""

    run_id: UUID
    epoch: int


def issue(uow: UnitOfWork) -> None:
    """Writes the tickets of the runs that the unit has made due since the last call; SQLite has none."""
    if uow.due_runs and uow.conn.dialect.name != "sqlite":
        uow.conn.execute(_ISSUE, {"run_ids": list(uow.due_runs)})
        uow.due_runs.clear()


def take(uow: UnitOfWork, at_most: int, now: datetime) -> list[Ticket]:
    """Remove up to `at_most` tickets that are due: by priority, then by how long they are due."""
    rows = uow.conn.execute(_TAKE, {"at_most": at_most, "now": now}).all()
    return [_parsed(row.ticket) for row in sorted(rows, key=lambda row: (-row.priority, row.execute_after, row.id))]


def give_back(conn: Connection, tickets: Sequence[Ticket]) -> None:
    """Write taken tickets anew whose runs still wait in the same epoch; the others were stale, and are dropped."""
    if tickets:
        conn.execute(
            _REISSUE, {"run_ids": [each.run_id for each in tickets], "epochs": [each.epoch for each in tickets]}
        )


def next_due(conn: Connection) -> datetime | None:
    """When the next ticket is due."""
    return conn.execute(_NEXT).scalar()


def sweep(uow: UnitOfWork, since: datetime, now: datetime) -> int:
    """Write tickets for the runs without one that became due after `since`; returns how many there were.

    Such are the runs of workers that were lost, whose lease has ended, and those whose tickets were lost.
    """
    return uow.conn.execute(_SWEEP, {"since": since, "now": now}).rowcount


def prune(uow: UnitOfWork, now: datetime, log_before: datetime) -> None:
    """Drop due tickets that no run stands behind, and what PGQueuer's log holds from before `log_before`."""
    uow.conn.execute(_DROP_ORPHANS, {"now": now})
    uow.conn.execute(_PRUNE_LOG, {"before": log_before})


def _parsed(ticket: Any) -> Ticket:
    run_id, epoch = ticket.split(":")
    return Ticket(UUID(run_id), int(epoch))
