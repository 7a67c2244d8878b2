"""Wake-ups within the process: hints, sent after a commit, that something changed. `db.core.pg_notify` forwards them.

A lost hint costs latency and never work: whoever waits also looks at the tables now and then.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

Forward = Callable[[Iterable[Hashable]], None]
"""Tells topics to other processes; raises nothing."""

EVENTS = "events"
"""Topic: the event log grew."""
RUNS_STOPPED = "runs-stopped"
"""Topic: runs were ended by somebody else than their workers."""
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


def run_changed(run_id: UUID) -> Hashable:
    """Topic: the status of this run changed."""
    return ("run", run_id)


def operation_changed(operation_id: UUID) -> Hashable:
    """Topic: this bulk operation went on, or ended."""
    return ("bulk", operation_id)


class PubSub:
    """Who waits for which topic. Used from the event loop's thread alone."""

    def __init__(self) -> None:
        self._listeners: defaultdict[Hashable, set[asyncio.Event]] = defaultdict(set)
        self._forward: Forward | None = None

    @contextmanager
    def listen(self, topic: Hashable) -> Iterator[asyncio.Event]:
        """An event that is set when `topic` is sent, for as long as the block lasts."""
        event = asyncio.Event()
        self._listeners[topic].add(event)
        try:
            yield event
        finally:
            self._listeners[topic].discard(event)
            if not self._listeners[topic]:
                del self._listeners[topic]

    def is_heard(self, topic: Hashable) -> bool:
        """Whether anybody listens to `topic`."""
        return topic in self._listeners

    @contextmanager
    def forwarded(self, forward: Forward) -> Iterator[None]:
        """Have what is sent here told to others too, by `forward`, for as long as the block lasts."""
        self._forward = forward
        try:
            yield
        finally:
            self._forward = None

    def send(self, topics: Iterable[Hashable]) -> None:
        """Wake everybody who listens to one of `topics`, in other processes too."""
        sent = list(topics)
        self.deliver(sent)
        if sent and self._forward is not None:
            self._forward(sent)

    def deliver_all(self) -> None:
        """Wakes all subscribers in this process: something changed, and nothing says what."""
        self.deliver(list(self._listeners))

    def deliver(self, topics: Iterable[Hashable]) -> None:
        """Wake everybody in this process who listens to one of `topics`."""
        for topic in topics:
            for event in self._listeners.get(topic, ()):
                event.set()
