"""What stands at the end of every unit of work, in its transaction.

Runs that it created are counted against quotas, tickets are written for those that it made due, and the places that it
freed are given to others. In this order: for the row of a quota or for a ticket one may have to wait, and the lock on
places must be the last that a transaction waits for. What all of this tells is written to the event log at the end of
the transaction, which may be that of several units: in one statement.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

from db.core import pubsub
from db.events import log as event_log
from db.queue import quota, slots, tickets
from db.runs import step_journal

T = TypeVar("T")

_RECORDED = (quota.KNOWN, quota.CREATED, tickets.WANTED, slots.RELEASED, event_log.PENDING)


@contextmanager
def transaction(conn: Connection) -> Iterator[None]:
    """The units of work of one transaction."""
    # A connection outlives its transactions: what one that was rolled back noted there is void.
    event_log.discard(conn)
    yield
    event_log.write(conn)


def run_in_transaction(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """`run`, in a transaction of its own."""
    with transaction(conn):
        return run(conn, work)


def run(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """The result of `work(conn)` and the topics that it noted, once all that follows from it is written or told."""
    info = conn.info
    for name in _RECORDED:
        info.pop(name, None)
    return pubsub.collect(conn, lambda conn: _with_before_commit_steps(conn, work))


def flush(conn: Connection) -> None:
    """Write tickets and events of what the unit of work under way did so far, which is to wait for others next."""
    tickets.issue(conn)
    event_log.collect(conn)
    event_log.write(conn)


def _with_before_commit_steps(conn: Connection, work: Callable[[Connection], T]) -> T:
    result = work(conn)
    noted = conn.info  # most units of work note nothing, and are not to pay for it
    if quota.CREATED in noted:
        step_journal.apply_quota(conn)
    if tickets.WANTED in noted:
        tickets.issue(conn)
    if slots.RELEASED in noted:
        slots.promote_waiting(conn)
        # Those of the runs that may go on now are new to everybody, so nobody has to be waited for.
        tickets.issue(conn)
    if event_log.PENDING in noted:
        event_log.collect(conn)
    return result
