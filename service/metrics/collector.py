"""Collects the metrics that are read when Prometheus asks: the state of the process and of the database."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from db.core.database import Database
from db.queue.due import NAMES
from domain.time import clock
from engine.file_store import FileStore
from live.hub import Hub
from schema.compiled.reads import ReadCounts
from service.metrics import declarations
from service.metrics.database_state import DatabaseState, StateReader
from service.metrics.declarations import Declared
from service.metrics.operations import OTHER
from service.metrics.recorder import Recorder
from service.streams.connection_registry import ConnectionRegistry
from service.worker import Worker

Source = Callable[[], Iterable[Metric]]
"""Returns metrics of the process as they are now."""

MAX_REASONS = 50
"""Reasons of fallbacks that are told apart. Each is a place in the schema, or a kind of document."""


class Metrics(Collector):
    """The metrics of one process."""

    def __init__(self, database: Database) -> None:
        # They double the samples, and Prometheus does not use them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._database = database
        self.reader = StateReader(database)
        """Reads the state of the database."""
        self._registry = CollectorRegistry()
        self.recorder = Recorder(self._registry)
        """The observer of the process."""
        self._hub: Hub | None = None
        self._state: DatabaseState | None = None
        self._lag: int | None = None
        self._sources: list[Source] = [self._pools, self._database_state]
        self._registry.register(self)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Returns the metrics in a format that `accept` (a header) names, and its media type."""
        # The position is read first: an event between the two reads is no lag.
        position = self._hub.published_until if self._hub is not None else None
        self._state = await self.reader.state()
        self._lag = None
        if self._state is not None and position is not None:
            self._lag = max(0, self._state.newest_position - position)
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """Returns the metrics that are not recorded as things happen."""
        for source in self._sources:
            yield from source()

    def describe(self) -> Iterable[Metric]:
        """Returns nothing: the metrics are known only when they are collected."""
        return ()

    def watch_streams(self, hub: Hub, connections: ConnectionRegistry) -> None:
        """Show the subscribers of this process."""
        self._hub = hub

        def streams() -> Iterator[Metric]:
            yield _gauge(declarations.SUBSCRIBERS, [((), hub.subscribers)])
            yield _gauge(declarations.STREAM_CONNECTIONS, [((), connections.connections)])
            if self._lag is not None:
                yield _gauge(declarations.EVENT_LOG_LAG, [((), self._lag)])

        self._sources.append(streams)

    def watch_reads(self, counts: ReadCounts) -> None:
        """Show how queries are executed."""

        def reads() -> Iterator[Metric]:
            family = CounterMetricFamily(
                declarations.COMPILED_READS.name,
                declarations.COMPILED_READS.meaning,
                labels=declarations.COMPILED_READS.labels,
            )
            family.add_metric(("hit", ""), counts.compiled)
            reasons = counts.general.most_common()
            for reason, number in reasons[:MAX_REASONS]:
                family.add_metric(("fallback", reason), number)
            if rest := sum(number for _, number in reasons[MAX_REASONS:]):
                family.add_metric(("fallback", OTHER), rest)
            yield family

        self._sources.append(reads)

    def watch_worker(self, worker: Worker) -> None:
        """Show how busy the worker of this process is."""

        def occupation() -> Iterator[Metric]:
            yield _gauge(declarations.RUNS_EXECUTING, [((), worker.executing)])
            yield _gauge(declarations.WORKER_CONCURRENCY, [((), worker.concurrency)])

        self._sources.append(occupation)

    def watch_files(self, files: FileStore) -> None:
        """Show whether the file store works for this process."""
        self._sources.append(lambda: iter([_gauge(declarations.FILES_UP, [((), int(files.problem is None))])]))

    def _pools(self) -> Iterator[Metric]:
        pools = self._database.pool_use()
        yield _gauge(declarations.POOL_SIZE, [((pool.name,), pool.size) for pool in pools])
        yield _gauge(declarations.POOL_IN_USE, [((pool.name,), pool.in_use) for pool in pools])
        known = [((pool.name,), pool.waiting) for pool in pools if pool.waiting is not None]
        yield _gauge(declarations.POOL_WAITING, known)
        yield _gauge(declarations.DATABASE_WRITABLE, [((), int(self._database.write_problem is None))])

    def _database_state(self) -> Iterator[Metric]:
        yield _gauge(declarations.DATABASE_UP, [((), int(self._state is not None))])
        if self._state is None:
            return
        queue, bulk = self._state.queue, self._state.bulk
        yield _gauge(declarations.RUNS, [(tuple(count[:3]), count.runs) for count in self._state.runs])
        due = [((NAMES[priority].lower(),), waiting.count) for priority, waiting in queue.due.items()]
        yield _gauge(declarations.QUEUE_DUE, due)
        first_due = min((waiting.since for waiting in queue.due.values() if waiting.since), default=None)
        yield _gauge(declarations.QUEUE_OLDEST, [((), _seconds_since(first_due))])
        yield _gauge(declarations.QUEUE_BLOCKED, [((), queue.blocked.count)])
        yield _gauge(declarations.QUEUE_BLOCKED_OLDEST, [((), _seconds_since(queue.blocked.since))])
        yield _gauge(declarations.SLOTS_LIMIT, [((use.project, use.flow or ""), use.limit) for use in queue.slots])
        yield _gauge(declarations.SLOTS_IN_USE, [((use.project, use.flow or ""), use.used) for use in queue.slots])
        yield _gauge(declarations.BULK_OPERATIONS, [((each.kind,), each.operations) for each in bulk])
        yield _gauge(declarations.BULK_MATCHED, [((each.kind,), each.matched) for each in bulk])
        yield _gauge(declarations.BULK_PROCESSED, [((each.kind,), each.processed) for each in bulk])
        deliveries = self._state.deliveries
        yield _gauge(declarations.DELIVERIES_PENDING, [((), deliveries.pending)])
        yield _gauge(declarations.DELIVERIES_OLDEST, [((), _seconds_since(deliveries.due_since))])
        yield _gauge(declarations.EVENT_LOG_POSITION, [((), self._state.newest_position)])


def _gauge(declared: Declared, samples: Sequence[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(declared.name, declared.meaning, labels=declared.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _seconds_since(instant: datetime | None) -> float:
    return 0.0 if instant is None else max(0.0, (clock.now() - instant).total_seconds())
