"""Single reads with each filter, order, count and statistic, and the milliseconds allowed for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bench.read.data import FLOWS, NEWEST, RARE_TEXT, flow_id, run_id
from domain import ids
from domain.ids import IdKind

LIST = """query Runs($filter: FlowRunFilter, $orderBy: FlowRunOrder, $after: String) {
    flowRuns(first: 50, filter: $filter, orderBy: $orderBy, after: $after) {
        nodes { id status } pageInfo { endCursor } } }"""
COUNT = "query Count($filter: FlowRunFilter, $limit: Int) { flowRuns(filter: $filter) { totalCount(limit: $limit) } }"
_EXACT_COUNT = "query Count($filter: FlowRunFilter) { flowRuns(filter: $filter) { totalCount } }"


@dataclass(frozen=True)
class Read:
    """One read through GraphQL."""

    title: str
    variables: Mapping[str, object]
    target_ms: float
    document: str = LIST
    operator: bool = False
    """True: the read uses an operator's key, which sees every project."""
    deep: Mapping[str, object] = field(default_factory=dict)
    """A filter whose first page ends in the middle of the order: the read is the page after that one."""


def reads(count: int) -> Iterator[Read]:
    """Yields the reads of a data set with `count` runs."""
    yield Read("newest", {}, 10)
    yield from _filters(count)
    yield from _orders(count)
    yield from _counts()
    yield from _statistics()
    yield from _pickers()


def _filters(count: int) -> Iterator[Read]:
    middle, ancient = NEWEST - timedelta(minutes=count // 2), NEWEST - timedelta(days=3_650)
    flow, run = ids.encode(IdKind.FLOW, flow_id(7)), ids.encode(IdKind.RUN, run_id(count - 100, count))
    parent = ids.encode(IdKind.RUN, run_id(510, count))
    few: list[tuple[str, Mapping[str, object], float]] = [
        ("ids", {"ids": [run]}, 10),
        ("flowIds, one", {"flowIds": [flow]}, 10),
        ("flowIds, all", {"flowIds": [ids.encode(IdKind.FLOW, flow_id(number)) for number in range(FLOWS)]}, 10),
        ("flowIds and statuses, no match", {"flowIds": [flow], "statuses": ["FAILED"]}, 30),
        ("flowVersionIds", {"flowVersionIds": [ids.encode(IdKind.FLOW_VERSION, flow_id(7))]}, 10),
        ("statuses, a tenth", {"statuses": ["FAILED"]}, 10),
        ("statuses, no match", {"statuses": ["INTERNAL_ERROR"]}, 10),
        ("environments", {"environments": ["TESTING"]}, 10),
        ("environments and statuses, no match", {"environments": ["TESTING"], "statuses": ["FAILED"]}, 30),
        ("triggerMethods, no match", {"triggerMethods": ["WEBHOOK"]}, 30),
        ("tags, rare", {"tags": ["build-1"]}, 10),
        ("tags, unknown", {"tags": ["unknown"]}, 10),
        ("tags, a fifth", {"tags": ["team-1"]}, 10),
        ("anyTags, rare or unknown", {"anyTags": ["build-1", "unknown"]}, 10),
        ("failedStepName", {"failedStepName": "charge"}, 10),
        ("failedStepName, unknown", {"failedStepName": "unknown"}, 10),
        ("errorContains, rare", {"errorContains": RARE_TEXT}, 20),
        ("errorContains, absent", {"errorContains": "no such words"}, 20),
        ("search, one run", {"search": f'"order": {count - 100},'}, 20),
        ("search, absent", {"search": "no such words"}, 20),
        ("search, every run", {"search": '"lines"'}, 20),
        ("search, a thousandth", {"search": '"total": 500'}, 20),
        ("not, a search", {"not": {"search": "no such words"}}, 20),
        ("errorFingerprint", {"errorFingerprint": f"{1:016x}"}, 10),
        ("externalIds", {"externalIds": ["order-500"]}, 10),
        ("externalIds, unknown", {"externalIds": ["unknown"]}, 10),
        ("createdAfter and createdBefore", {"createdAfter": text_of(middle), "createdBefore": text_of(NEWEST)}, 10),
        ("startedAfter, middle", {"startedAfter": text_of(middle)}, 10),
        ("startedAfter, later than every run", {"startedAfter": text_of(NEWEST + timedelta(days=1))}, 10),
        ("startedBefore, middle", {"startedBefore": text_of(middle)}, 10),
        ("startedBefore, earlier than every run", {"startedBefore": text_of(ancient)}, 10),
        ("finishedAfter, later than every run", {"finishedAfter": text_of(NEWEST + timedelta(days=1))}, 10),
        ("finishedBefore, middle", {"finishedBefore": text_of(middle)}, 10),
        ("finishedBefore, earlier than every run", {"finishedBefore": text_of(ancient)}, 10),
        (
            "startedAfter and startedBefore, an hour",
            {"startedAfter": text_of(middle), "startedBefore": text_of(middle + timedelta(hours=1))},
            10,
        ),
        ("minDurationMs, half", {"minDurationMs": 45_000}, 10),
        ("minDurationMs, no match", {"minDurationMs": 100_000}, 30),
        ("maxDurationMs, no match", {"maxDurationMs": 1}, 30),
        ("metadata, rare", {"metadata": {"customer": 17}}, 10),
        ("metadata, unknown", {"metadata": {"customer": -1}}, 10),
        ("metadata, a third", {"metadata": {"region": "eu-1"}}, 10),
        ("parentRunId", {"parentRunId": parent}, 10),
        ("rootsOnly", {"rootsOnly": True}, 10),
        ("retryOfId", {"retryOfId": ids.encode(IdKind.RUN, run_id(33, count))}, 10),
        ("unrecovered", {"unrecovered": True}, 10),
        ("rootRunId", {"rootRunId": parent}, 10),
        ("rerunOfId", {"rerunOfId": run}, 10),
        ("waitingFor", {"waitingFor": ["PERSON"]}, 10),
        ("sources, no match", {"sources": ["unknown"]}, 30),
        ("scheduleIds, no match", {"scheduleIds": [ids.encode(IdKind.SCHEDULE, flow_id(7))]}, 30),
        ("webhookIds, no match", {"webhookIds": [ids.encode(IdKind.WEBHOOK, flow_id(7))]}, 30),
        ("updatedAfter, middle", {"updatedAfter": text_of(middle)}, 10),
        ("updatedBefore, earlier than every run", {"updatedBefore": text_of(ancient)}, 10),
        ("createdWithin, a day", {"createdWithin": "P1D"}, 10),
        ("startedWithin, a day", {"startedWithin": "P1D"}, 10),
        ("finishedWithin, a day", {"finishedWithin": "P1D"}, 10),
        ("updatedWithin, a day", {"updatedWithin": "P1D"}, 10),
        ("metadataConditions, equals, rare", {"metadataConditions": [{"path": "customer", "equals": 17}]}, 10),
        ("metadataConditions, atLeast, no match", {"metadataConditions": [{"path": "customer", "atLeast": 9_999}]}, 30),
        ("metadataConditions, exists, unknown", {"metadataConditions": [{"path": "unknown", "exists": True}]}, 30),
        ("not, a tag", {"not": {"tags": ["team-1"]}}, 10),
        ("or, a rare tag or an unknown one", {"or": [{"tags": ["build-1"]}, {"tags": ["unknown"]}]}, 10),
        ("archived: ONLY", {"archived": "ONLY"}, 10),
        ("archived: ONLY, no match", {"archived": "ONLY", "statuses": ["PAUSED"]}, 30),
    ]
    for title, given, target in few:
        yield Read(title, {"filter": given}, target)


def _orders(count: int) -> Iterator[Read]:
    middle = text_of(NEWEST - timedelta(minutes=count // 2))
    for name, deep in (
        ("CREATED_AT", {"createdBefore": middle}),
        ("STARTED_AT", {"startedBefore": middle}),
        ("FINISHED_AT", {"finishedBefore": middle}),
        ("DURATION", {"maxDurationMs": 45_000}),
        ("UPDATED_AT", {"updatedBefore": middle}),
    ):
        order = {"orderBy": {"field": name, "direction": "DESC"}}
        yield Read(f"orderBy {name}", order, 10)
        yield Read(f"orderBy {name}, deep page", order, 10, deep=deep)
        yield Read(f"orderBy {name}, operator's key", order, 15, operator=True)


def _counts() -> Iterator[Read]:
    counts: list[tuple[str, Mapping[str, object]]] = [
        ("all", {}),
        ("by status", {"statuses": ["FAILED"]}),
        ("by flow", {"flowIds": [ids.encode(IdKind.FLOW, flow_id(7))]}),
        ("by environment", {"environments": ["TESTING"]}),
    ]
    for title, given in counts:
        yield Read(f"totalCount, {title}", {"filter": given}, 2, _EXACT_COUNT)
    bounded: list[tuple[str, Mapping[str, object]]] = [
        ("tag", {"tags": ["team-1"]}),
        ("metadata", {"metadata": {"region": "eu-1"}}),
    ]
    for title, given in bounded:
        yield Read(f"totalCount, {title}, limit 10,000", {"filter": given, "limit": 10_000}, 20, COUNT)


def _statistics() -> Iterator[Read]:
    days, hours = NEWEST - timedelta(days=30), NEWEST - timedelta(hours=959)
    for title, fields, target in (
        ("byStatus", "byStatus { status count }", 5),
        ("timeBuckets, 30 days", _buckets("DAY", days), 5),
        ("timeBuckets, 960 hours", _buckets("HOUR", hours), 5),
        ("topFailingSteps", "topFailingSteps { stepName count }", 5),
        ("durations", "durations { p50Ms p95Ms p99Ms }", 10),
    ):
        document = f"query Stats($filter: FlowRunFilter) {{ flowRunStats(filter: $filter) {{ {fields} }} }}"
        yield Read(f"statistics, {title}", {}, target, document)


def _pickers() -> Iterator[Read]:
    """Yields the reads of a filter bar, which count the values of the newest runs that match."""
    filters: list[tuple[str, Mapping[str, object]]] = [
        ("", {}),
        (", of a flow", {"flowIds": [ids.encode(IdKind.FLOW, flow_id(7))]}),
        (", of failed runs", {"statuses": ["FAILED"]}),
        (", of a failed step", {"failedStepName": "charge"}),
        (", of a tag", {"tags": ["team-1"]}),
    ]
    for of, given in filters:
        for title, fields in (
            ("tags", "tags { values { value count } }"),
            ("failedSteps", "failedSteps { values { value count } }"),
            ("errorCodes", "errorCodes { values { value count } }"),
            ("sources", "sources { values { value count } }"),
            ("metadataKeys", "metadataKeys { values { value count } }"),
            ("metadataValues", 'metadataValues(path: "customer") { values { value count } }'),
        ):
            document = f"query Pickers($filter: FlowRunFilter) {{ pickers(filter: $filter) {{ {fields} }} }}"
            yield Read(f"pickers, {title}{of}", {"filter": given}, 50, document)


def _buckets(size: str, start: datetime) -> str:
    return f'timeBuckets(size: {size}, from: "{text_of(start)}", to: "{text_of(NEWEST)}") {{ start total }}'


def text_of(instant: datetime) -> str:
    """Returns an instant as clients write it."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
