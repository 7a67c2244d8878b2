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

from db import admission, events, journal, quota, signals, tickets

T = TypeVar("T")

_NOTED = (quota.KNOWN, quota.CREATED, tickets.WANTED, admission.FREED, events.TOLD)


@contextmanager
def transaction(conn: Connection) -> Iterator[None]:
    """The units of work of one transaction."""
    # A connection outlives its transactions: what one that was rolled back noted there is void.
    events.drop(conn)
    yield
    events.write(conn)


def run_alone(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """`run`, in a transaction of its own."""
    with transaction(conn):
        return run(conn, work)


def run(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """The result of `work(conn)` and the topics that it noted, once all that follows from it is written or told."""
    info = conn.info
    for name in _NOTED:
        info.pop(name, None)
    return signals.collect(conn, lambda conn: _settled(conn, work))


def flush(conn: Connection) -> None:
    """Write tickets and events of what the unit of work under way did so far, which is to wait for others next."""
    tickets.issue(conn)
    events.gather(conn)
    events.write(conn)


def _settled(conn: Connection, work: Callable[[Connection], T]) -> T:
    result = work(conn)
    noted = conn.info  # most units of work note nothing, and are not to pay for it
    if quota.CREATED in noted:
        journal.charge(conn)
    if tickets.WANTED in noted:
        tickets.issue(conn)
    if admission.FREED in noted:
        admission.fill(conn)
        # Those of the runs that may go on now are new to everybody, so nobody has to be waited for.
        tickets.issue(conn)
    if events.TOLD in noted:
        events.gather(conn)
    return result
