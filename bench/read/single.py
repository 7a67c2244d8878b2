"""Single reads with filters, orders, counts and statistics, and how long each may take."""

from dataclasses import dataclass
from datetime import timedelta

from bench.read.data import NEWEST, RARE_TEXT


@dataclass(frozen=True)
class Read:
    """One read through GraphQL."""

    title: str
    document: str
    target_ms: float


def _list(filter: str, more: str = "") -> str:  # noqa: A002 - the argument's name
    return f"{{ flowRuns(first: 50, filter: {{ {filter} }}{more}) {{ nodes {{ id status }} }} }}"


def _count(filter: str, limit: str = "") -> str:  # noqa: A002
    return f"{{ flowRuns(filter: {{ {filter} }}) {{ totalCount{limit} }} }}"


def _stats(fields: str) -> str:
    return f"{{ flowRunStats {{ {fields} }} }}"


def _order(name: str, filter: str = "") -> str:  # noqa: A002
    where = f", filter: {{ {filter} }}" if filter else ""
    return f"{{ flowRuns(first: 50, orderBy: {{ field: {name}, direction: DESC }}{where}) {{ nodes {{ id }} }} }}"


_EARLY = (NEWEST - timedelta(days=3_650)).strftime("%Y-%m-%dT%H:%M:%SZ")
_MONTH = (NEWEST - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
_NOW = NEWEST.strftime("%Y-%m-%dT%H:%M:%SZ")

READS = (
    Read("newest 50", "{ flowRuns(first: 50) { nodes { id status } } }", 10),
    Read("errorContains, rare", _list(f'errorContains: "{RARE_TEXT}"'), 20),
    Read("errorContains, absent", _list('errorContains: "no such words"'), 20),
    Read("startedBefore, before every run", _list(f'startedBefore: "{_EARLY}"'), 10),
    Read("finishedBefore, before every run", _list(f'finishedBefore: "{_EARLY}"'), 10),
    Read("orderBy DURATION", _order("DURATION"), 10),
    Read("orderBy FINISHED_AT", _order("FINISHED_AT"), 10),
    Read("orderBy STARTED_AT", _order("STARTED_AT"), 10),
    Read("triggerMethods, without a match", _list("triggerMethods: [WEBHOOK]"), 30),
    Read("maxDurationMs, without a match", _list("maxDurationMs: 1"), 30),
    Read("tags, rare", _list('tags: ["build-1"]'), 10),
    Read("tags, unknown", _list('tags: ["unknown"]'), 10),
    Read("metadata, rare", _list("metadata: {customer: 17}"), 10),
    Read("metadata, unknown", _list("metadata: {customer: -1}"), 10),
    Read("totalCount, all", _count("archived: EXCLUDE"), 2),
    Read("totalCount, by status", _count("statuses: [FAILED]"), 2),
    Read("totalCount, by environment", _count("environments: [TESTING]"), 2),
    Read("totalCount of a tag, limit 10,000", _count('tags: ["team-1"]', "(limit: 10000)"), 20),
    Read("statistics: byStatus", _stats("byStatus { status count }"), 5),
    Read(
        "statistics: time buckets of 30 days",
        _stats(f'timeBuckets(size: DAY, from: "{_MONTH}", to: "{_NOW}") {{ start total }}'),
        5,
    ),
    Read("statistics: topFailingSteps", _stats("topFailingSteps { stepName count }"), 5),
    Read("statistics: durations", _stats("durations { p50Ms p95Ms }"), 10),
)
