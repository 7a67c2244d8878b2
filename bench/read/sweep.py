"""Filters that no single read names: each field in every order, on first and deep pages; random pairs and triples.

Each field has a rare, a common and an absent value, as far as it has them. Reads above a limit are listed.
"""

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import product
from uuid import UUID

from bench.read.data import FLOWS, NEWEST, RARE_TEXT, flow_id, run_id
from bench.read.single import Read, text_of
from domain import ids
from domain.ids import IdKind
from domain.runs.run_filter import FILTER_FIELDS

LIMIT_MS = 30.0
"""Milliseconds from which a read is listed."""
_ORDERS = ("CREATED_AT", "STARTED_AT", "FINISHED_AT", "DURATION", "UPDATED_AT")
_DIRECTIONS = ("DESC", "ASC")
_SEED = 1
_Values = Mapping[str, object]


def values(count: int) -> Mapping[str, _Values]:
    """Returns the values of each field of the filter by their kind, for a data set with `count` runs."""
    middle, ancient = NEWEST - timedelta(minutes=count // 2), NEWEST - timedelta(days=3_650)
    tomorrow = NEWEST + timedelta(days=1)
    missing = UUID(int=run_id(count, count).int + 1)
    unknown = {kind: ids.encode(kind, missing) for kind in (IdKind.RUN, IdKind.FLOW, IdKind.FLOW_VERSION)}
    run, parent = ids.encode(IdKind.RUN, run_id(count - 100, count)), ids.encode(IdKind.RUN, run_id(510, count))
    flow = ids.encode(IdKind.FLOW, flow_id(7))
    flows = [ids.encode(IdKind.FLOW, flow_id(number)) for number in range(FLOWS)]
    retried = ids.encode(IdKind.RUN, run_id(33, count))
    after = {"rare": text_of(NEWEST - timedelta(minutes=30)), "common": text_of(middle), "absent": text_of(tomorrow)}
    before = {
        "rare": text_of(NEWEST - timedelta(minutes=count - 30)),
        "common": text_of(middle),
        "absent": text_of(ancient),
    }
    within = {"common": "P20Y", "absent": "PT1S"}
    return {
        "ids": {"rare": [run], "absent": [unknown[IdKind.RUN]]},
        "flowIds": {"rare": [flow], "common": flows, "absent": [unknown[IdKind.FLOW]]},
        "flowVersionIds": {
            "rare": [ids.encode(IdKind.FLOW_VERSION, flow_id(7))],
            "absent": [unknown[IdKind.FLOW_VERSION]],
        },
        "statuses": {"rare": ["PAUSED"], "common": ["SUCCEEDED"], "absent": ["INTERNAL_ERROR"]},
        "waitingFor": {"absent": ["PERSON"]},
        "environments": {"rare": ["TESTING"], "common": ["PRODUCTION"]},
        "triggerMethods": {"common": ["SCHEDULE"], "absent": ["WEBHOOK"]},
        "tags": {"rare": ["build-1"], "common": ["team-1"], "absent": ["unknown"]},
        "anyTags": {"rare": ["build-1", "build-2"], "common": ["team-1", "team-2"], "absent": ["unknown", "none"]},
        "failedStepName": {"common": "charge", "absent": "unknown"},
        "errorContains": {"rare": RARE_TEXT, "common": "answered", "absent": "no such words"},
        "search": {"rare": f'"order": {count - 100},', "common": '"lines"', "absent": "no such words"},
        "errorFingerprint": {"common": f"{1:016x}", "absent": f"{99:016x}"},
        "externalIds": {"rare": ["order-500"], "absent": ["unknown"]},
        "sources": {"absent": ["unknown"]},
        "scheduleIds": {"absent": [ids.encode(IdKind.SCHEDULE, flow_id(7))]},
        "webhookIds": {"absent": [ids.encode(IdKind.WEBHOOK, flow_id(7))]},
        "createdAfter": after,
        "createdBefore": before,
        "startedAfter": after,
        "startedBefore": before,
        "finishedAfter": after,
        "finishedBefore": before,
        "updatedAfter": after,
        "updatedBefore": before,
        "createdWithin": within,
        "startedWithin": within,
        "finishedWithin": within,
        "updatedWithin": within,
        "minDurationMs": {"rare": 90_040, "common": 45_000, "absent": 100_000},
        "maxDurationMs": {"rare": 60, "common": 45_000, "absent": 1},
        "metadata": {"rare": {"customer": 17}, "common": {"region": "eu-1"}, "absent": {"customer": -1}},
        "metadataConditions": {
            "rare": [{"path": "customer", "atLeast": 17, "atMost": 17}],
            "common": [{"path": "region", "prefix": "eu-1"}],
            "absent": [{"path": "customer", "atLeast": 9_999}],
        },
        "parentRunId": {"rare": parent, "absent": unknown[IdKind.RUN]},
        "rootRunId": {"rare": parent, "absent": unknown[IdKind.RUN]},
        "rootsOnly": {"common": True},
        "retryOfId": {"rare": retried, "absent": unknown[IdKind.RUN]},
        "rerunOfId": {"absent": unknown[IdKind.RUN]},
        "unrecovered": {"common": True},
        "archived": {"common": "INCLUDE", "rare": "ONLY"},
        "not": {"common": {"tags": ["team-1"]}, "absent": {"statuses": ["SUCCEEDED", "FAILED", "STOPPED", "PAUSED"]}},
        "or": {
            "rare": [{"tags": ["build-1"]}, {"metadata": {"customer": 17}}],
            "common": [{"tags": ["team-1"]}, {"statuses": ["FAILED"]}],
            "absent": [{"tags": ["unknown"]}, {"metadataConditions": [{"path": "unknown", "exists": True}]}],
        },
    }


def without_values(count: int) -> list[str]:
    """Returns the fields of the filter that the sweep leaves out."""
    names = {name.replace("_", "").lower() for name in values(count)}
    return [name for name in FILTER_FIELDS if name.replace("_", "").lower() not in names and name != "project_ids"]


def reads(count: int, draws: int) -> Iterator[Read]:
    """Yields each value alone, in each order and on both pages, and for operators; `draws` random pairs and triples."""
    given = [(f"{name}: {kind}", name, value) for name, kinds in values(count).items() for kind, value in kinds.items()]
    for (title, name, value), order, direction, is_deep in product(given, _ORDERS, _DIRECTIONS, (False, True)):
        yield _read(title, {name: value}, order, direction, is_deep=is_deep, count=count)
    for title, name, value in given:
        yield Read(f"{title}; operator's key", {"filter": {name: value}}, LIMIT_MS, operator=True)
    draw = random.Random(_SEED)
    for _ in range(draws):
        chosen = draw.sample(given, draw.choice((2, 3)))
        together = {name: value for _, name, value in chosen}
        title = ", ".join(title for title, name, value in chosen if together[name] is value)
        order, direction, is_deep = draw.choice(_ORDERS), draw.choice(_DIRECTIONS), draw.random() < 0.5
        yield _read(title, together, order, direction, is_deep=is_deep, count=count)


def _read(title: str, given: Mapping[str, object], order: str, direction: str, *, is_deep: bool, count: int) -> Read:
    middle, side = text_of(NEWEST - timedelta(minutes=count // 2)), "Before" if direction == "DESC" else "After"
    bounds: Mapping[str, Mapping[str, object]] = {
        "CREATED_AT": {f"created{side}": middle},
        "STARTED_AT": {f"started{side}": middle},
        "FINISHED_AT": {f"finished{side}": middle},
        "DURATION": {"maxDurationMs" if direction == "DESC" else "minDurationMs": 45_000},
        "UPDATED_AT": {f"updated{side}": middle},
    }
    variables = {"filter": given, "orderBy": {"field": order, "direction": direction}}
    page = ", deep page" if is_deep else ""
    return Read(f"{title}; {order} {direction}{page}", variables, LIMIT_MS, deep=bounds[order] if is_deep else {})


def report(chosen: Sequence[Read], times: Sequence[float | None]) -> str:
    """Returns how many reads take how long, and those above the limit, the slowest first."""
    known = sorted(took for took in times if took is not None)
    slow = [(read.title, took) for read, took in zip(chosen, times, strict=True) if took is None or took > LIMIT_MS]
    shares = " · ".join(f"p{percent} {known[len(known) * percent // 100]:.1f}" for percent in (50, 90, 99))
    head = f"{len(chosen):,} reads, ms: {shares}, longest {known[-1]:.0f}; {len(slow)} above {LIMIT_MS:g} ms or refused"
    listed = sorted(slow, key=lambda each: -(each[1] or float("inf")))
    listing = (f"- {'-' if ms is None else f'{ms:,.0f}'} ms: {title}" for title, ms in listed)
    return "\n".join([f"{head} (mean {statistics.fmean(known):.1f})", *listing])
