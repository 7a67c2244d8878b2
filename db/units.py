"""Units of work in a transaction, and what stands at their ends."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

from db import events, signals, tickets

T = TypeVar("T")


@contextmanager
def transaction(conn: Connection) -> Iterator[None]:
    """The units of work of one transaction, at whose end their events are written: in one statement."""
    # A connection outlives its transactions: what one that was rolled back noted there counts no more.
    events.drop(conn)
    yield
    events.write(conn)


def run(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """The result of `work(conn)`, its tickets written and its events told, and the topics that it noted."""
    tickets.forget(conn)
    events.forget(conn)
    return signals.collect(conn, lambda unit: _finished(unit, work))


def run_alone(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """`run`, in a transaction of its own."""
    with transaction(conn):
        return run(conn, work)


def _finished(conn: Connection, work: Callable[[Connection], T]) -> T:
    result = work(conn)
    tickets.issue(conn)
    events.gather(conn)  # last, for all that comes before may have something to tell
    return result
