"""The unit of work: the work of one call of `Database.write` in its transaction, and its effects at the commit.

A function that writes takes the unit of work. It executes statements on `uow.conn`, and records on it what must happen
before the commit: runs to charge to a quota, released slots, events to append, topics to publish. The database is
assembled with the steps that do this (`db.assembly`); this module knows none of them.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Insert

from db.core import pubsub
from domain.quota import ProjectQuota

T = TypeVar("T")

PendingEvent = Mapping[str, Any] | tuple[Insert, Mapping[str, Any]]
"""Columns of one row of the event log, or an INSERT … SELECT into it with its parameters."""


class UnitOfWork:
    """The work in one transaction or savepoint. Only one thread uses it, and a rollback makes it void."""

    __slots__ = ("charges", "conn", "events", "quotas", "released_slots", "steps", "topics")

    def __init__(self, conn: Connection, steps: "CommitSteps") -> None:
        self.conn = conn
        self.steps = steps
        self.events: list[PendingEvent] = []
        """Events in their order. One INSERT writes them at the end of the transaction."""
        self.topics: list[Hashable] = []
        """Topics to publish after the commit."""
        self.quotas: dict[UUID, ProjectQuota | None] = {}
        """Quotas of projects that this unit has read. Each is read once."""
        self.charges: dict[ProjectQuota, list[UUID]] = {}
        """Runs that this unit created in projects with a quota, and that have not been charged yet."""
        self.released_slots: Counter[tuple[UUID, UUID | None]] = Counter()
        """Slots that this unit released, by project and flow; None is a slot of the project alone."""

    def publish_after_commit(self, topic: Hashable) -> None:
        """Publishes `topic` once the transaction is committed."""
        self.topics.append(topic)

    def charge(self, quota: ProjectQuota, run_id: UUID) -> None:
        """Charges a new run to the quota of its project before the commit."""
        self.charges.setdefault(quota, []).append(run_id)

    def release_slots(self, project_id: UUID, flow_id: UUID | None, number: int = 1) -> None:
        """Promotes waiting runs before the commit: a flow (None: only the project) has `number` more free slots."""
        self.released_slots[project_id, flow_id] += number

    def flush(self) -> None:
        """Appends the events recorded so far, before the unit of work waits for another one.

        Does nothing on SQLite, where units of work never wait for each other. Call this only if the rest of the unit of
        work does not change what these events describe.
        """
        if self.conn.dialect.name == "sqlite" or not self.events:
            return
        self.steps.append_events(self.conn, self.events)
        self.events = []
        self.topics.append(pubsub.EVENTS)


@dataclass(frozen=True, slots=True)
class CommitSteps:
    """The steps before a commit."""

    of_unit: Sequence[Callable[[UnitOfWork], object]]
    """Steps at the end of each unit of work, in the order in which they take locks."""
    append_events: Callable[[Connection, Sequence[PendingEvent]], None]
    """Appends events to the log. It is the last statement of a transaction, which may have several units of work."""


def run(conn: Connection, work: Callable[[UnitOfWork], T], steps: CommitSteps) -> tuple[T, UnitOfWork]:
    """Returns the result of `work` and its unit of work, after the steps that each unit needs before a commit."""
    uow = UnitOfWork(conn, steps)
    result = work(uow)
    for step in steps.of_unit:
        step(uow)
    if uow.events:
        uow.topics.append(pubsub.EVENTS)
    return result, uow


def run_in_transaction(
    conn: Connection, work: Callable[[UnitOfWork], T], steps: CommitSteps
) -> tuple[T, Sequence[Hashable]]:
    """Returns the result of `work`, the only unit of work of a transaction, and the topics to publish after it."""
    result, uow = run(conn, work, steps)
    if uow.events:
        steps.append_events(conn, uow.events)
    return result, uow.topics
