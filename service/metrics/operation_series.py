"""Counts and times the operations of a process.

A request adds one item to a list. The items are counted some at a time, and before each reading: a loop over them costs
a fraction of what each one would cost among the work of its own request, where nothing of it is in the caches.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.metrics import declarations
from service.metrics.declarations import Declared
from service.metrics.operations import OTHER, UNNAMED, operation_of

MAX_OPERATIONS = 100
"""Names of operations that are told apart; clients choose the names, and each costs two dozen series. Later ones are
counted as OTHER."""
_MAX_UNCOUNTED = 64
"""Operations that are counted together. Each keeps its document until then."""

_Executed = tuple[str | None, str | None, float, int | None, bool]
"""Document and name of an operation, its seconds, its cost, and whether it has errors."""


class _Histogram:
    """The observations of one series."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the samples to the family of the series."""
        names = [*map(str, map(float, self._bounds)), "+Inf"]
        family.add_metric(labels, list(zip(names, accumulate(self._counts), strict=True)), self._sum)


class _Operation:
    """What is known of one operation."""

    __slots__ = ("cost", "failed", "seconds", "succeeded")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.seconds = _Histogram(declarations.OPERATION_SECONDS.buckets)
        self.cost = _Histogram(declarations.OPERATION_COST.buckets)


class OperationSeries(Collector):
    """The metrics of operations. All calls are made by the thread of the event loop."""

    def __init__(self) -> None:
        self._uncounted: list[_Executed] = []
        self._names: set[str] = {UNNAMED, OTHER}
        self._operations: dict[tuple[str, str], _Operation] = {}

    def add(self, executed: _Executed) -> None:
        """Add an operation that was answered."""
        self._uncounted.append(executed)
        if len(self._uncounted) >= _MAX_UNCOUNTED:
            self._count()

    def collect(self) -> Iterator[Metric]:
        """Returns the metrics of all operations that were answered."""
        self._count()
        executed = CounterMetricFamily(
            declarations.OPERATIONS.name, declarations.OPERATIONS.meaning, labels=declarations.OPERATIONS.labels
        )
        seconds, cost = _family(declarations.OPERATION_SECONDS), _family(declarations.OPERATION_COST)
        for labels, operation in self._operations.items():
            executed.add_metric((*labels, "ok"), operation.succeeded)
            executed.add_metric((*labels, "error"), operation.failed)
            operation.seconds.add_to(seconds, labels)
            operation.cost.add_to(cost, labels)
        yield from (executed, seconds, cost)

    def describe(self) -> Iterable[Metric]:
        """Returns nothing: the operations are known only when they are collected."""
        return ()

    def _count(self) -> None:
        for document, name, seconds, cost, has_errors in self._uncounted:
            operation_type, known_name = operation_of(document or "", name)
            labels = (operation_type, self._bounded(known_name))
            if (operation := self._operations.get(labels)) is None:
                operation = self._operations[labels] = _Operation()
            if has_errors:
                operation.failed += 1
            else:
                operation.succeeded += 1
            operation.seconds.observe(seconds)
            if cost is not None:
                operation.cost.observe(cost)
        self._uncounted.clear()

    def _bounded(self, name: str) -> str:
        if name in self._names:
            return name
        if len(self._names) >= MAX_OPERATIONS:
            return OTHER
        self._names.add(name)
        return name


def _family(declared: Declared) -> HistogramMetricFamily:
    return HistogramMetricFamily(declared.name, declared.meaning, labels=declared.labels)
