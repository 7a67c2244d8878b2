"""What stands at the end of every unit of work, in its transaction: quotas and places, whose locks are taken last."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from sqlalchemy import Connection

from db import admission, journal, quota, signals

T = TypeVar("T")


def run(conn: Connection, work: Callable[[Connection], T]) -> tuple[T, list[Hashable]]:
    """The result of `work(conn)` and the topics that it noted, its runs charged and its freed places filled."""
    # A connection outlives its transactions: what one that was rolled back noted there counts no more.
    quota.forget(conn)
    admission.forget(conn)
    return signals.collect(conn, lambda conn: _settled(conn, work))


def _settled(conn: Connection, work: Callable[[Connection], T]) -> T:
    result = work(conn)
    journal.charge(conn)
    admission.fill(conn)
    return result
