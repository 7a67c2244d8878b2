"""Wake-ups within the process: hints, published after a commit, that something changed. `db.core.pg_notify` forwards
them.

A lost hint costs latency and never work: every subscriber also looks at the tables from time to time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

Forward = Callable[[Iterable[Hashable]], None]
"""Publishes topics to other processes; raises nothing."""

EVENTS = "events"
"""Topic: the event log grew."""
RUNS_STOPPED = "runs-stopped"
"""Topic: runs were ended by a transaction other than their worker's."""
SCHEDULES_CHANGED = "schedules-changed"
"""Topic: a schedule may have another next fire time."""
RUNS_DUE = "runs-due"
"""Topic: a run waits for a worker."""
BULK_DUE = "bulk-due"
"""Topic: a bulk operation waits for a worker."""
KEY_REVOKED = "key-revoked"
"""Topic: an API key was revoked."""

SECRETS_CHANGED = "secrets-changed"
"""Topic: a secret was created, rotated or deleted."""
ENDPOINTS_CHANGED = "endpoints-changed"
"""Topic: an endpoint or an alert was created, changed or deleted."""
DELIVERIES_DUE = "deliveries-due"
"""Topic: a delivery waits for a worker."""


def run_changed(run_id: UUID) -> Hashable:
    """Topic: the status of this run changed."""
    return ("run", run_id)


def operation_changed(operation_id: UUID) -> Hashable:
    """Topic: this bulk operation made progress, or ended."""
    return ("bulk", operation_id)


class PubSub:
    """The subscribers of each topic. Only the event loop's thread may use it."""

    def __init__(self) -> None:
        self._listeners: defaultdict[Hashable, set[asyncio.Event]] = defaultdict(set)
        self._forward: Forward | None = None

    @contextmanager
    def listen(self, topic: Hashable) -> Iterator[asyncio.Event]:
        """Yields an event that is set when `topic` is published, while the block lasts."""
        event = asyncio.Event()
        self._listeners[topic].add(event)
        try:
            yield event
        finally:
            self._listeners[topic].discard(event)
            if not self._listeners[topic]:
                del self._listeners[topic]

    def is_heard(self, topic: Hashable) -> bool:
        """Returns True if `topic` has a subscriber."""
        return topic in self._listeners

    @contextmanager
    def forwarded(self, forward: Forward) -> Iterator[None]:
        """Forwards what is published here to other processes through `forward`, while the block lasts."""
        self._forward = forward
        try:
            yield
        finally:
            self._forward = None

    def send(self, topics: Iterable[Hashable]) -> None:
        """Wakes the subscribers of `topics`, in other processes too."""
        sent = list(topics)
        self.deliver(sent)
        if sent and self._forward is not None:
            self._forward(sent)

    def deliver_all(self) -> None:
        """Wakes all subscribers in this process: something changed, and nothing says what."""
        self.deliver(list(self._listeners))

    def deliver(self, topics: Iterable[Hashable]) -> None:
        """Wakes the subscribers of `topics` in this process."""
        for topic in topics:
            for event in self._listeners.get(topic, ()):
                event.set()
