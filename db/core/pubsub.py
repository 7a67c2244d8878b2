"""Wake-ups within the process: hints, published after a commit, that something changed. `db.core.pg_notify` forwards
them.

A lost hint costs latency and never work: every subscriber also reads the tables periodically.
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


ALERTS_DUE = "alerts-due"
"""Topic: a notification waits for a worker."""


def run_changed(run_id: UUID) -> Hashable:
    """Topic: the status of this run changed."""
    return ("run", run_id)


def operation_changed(operation_id: UUID) -> Hashable:
    """Topic: this bulk operation made progress, or ended."""
    return ("bulk", operation_id)


class PubSub:
    """The subscribers of each topic. Only the event loop's thread may use it."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[Hashable, set[asyncio.Event]] = defaultdict(set)
        self._forward: Forward | None = None

    @contextmanager
    def subscribe(self, topic: Hashable) -> Iterator[asyncio.Event]:
        """Yields an event that is set when `topic` is published, while the block lasts."""
        event = asyncio.Event()
        self._subscribers[topic].add(event)
        try:
            yield event
        finally:
            self._subscribers[topic].discard(event)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    def has_subscribers(self, topic: Hashable) -> bool:
        """Returns True if `topic` has a subscriber."""
        return topic in self._subscribers

    @contextmanager
    def forwarding(self, forward: Forward) -> Iterator[None]:
        """Forwards the topics that are published here to other processes by `forward`, while the block lasts."""
        self._forward = forward
        try:
            yield
        finally:
            self._forward = None

    def publish(self, topics: Iterable[Hashable]) -> None:
        """Wakes the subscribers of `topics`, in other processes too."""
        published = list(topics)
        self.publish_local(published)
        if published and self._forward is not None:
            self._forward(published)

    def publish_all_local(self) -> None:
        """Wakes all subscribers in this process, for changes of which the topics are unknown."""
        self.publish_local(list(self._subscribers))

    def publish_local(self, topics: Iterable[Hashable]) -> None:
        """Wakes the subscribers of `topics` in this process."""
        for topic in topics:
            for event in self._subscribers.get(topic, ()):
                event.set()
