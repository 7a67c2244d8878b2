"""The three reads that are compared: for each server the documents, and the variables, which change between requests.

A frontend sends the same document again and again with other variables: another flow, or another run.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from bench.read.data import FLOWS, PROJECT_ID, flow_id, run_id
from bench.read.load import request
from domain import ids
from domain.ids import IdKind

RUN_FIELDS = """id status environment triggerMethod createdAt startedAt finishedAt updatedAt durationMs attempt
    failedStepName externalId tags metadata output"""
NESTED_FIELDS = "id status createdAt durationMs flow { id name } steps { name kind status durationMs }"
SINGLE_RUNS = 200
"""Number of the newest runs, which are read one by one."""


@dataclass(frozen=True)
class Work:
    """One read."""

    letter: str
    title: str
    fields: str
    first: int | None
    """Length of the list; None: a single run."""


LIST = Work("a", "100 runs with 15 fields", RUN_FIELDS, 100)
NESTED = Work("b", "25 runs with flow and 3 steps", NESTED_FIELDS, 25)
ONE = Work("c", "one run with flow and 3 steps", NESTED_FIELDS, None)
WORKS = (LIST, NESTED, ONE)

Messages = Mapping[Work, Sequence[bytes]]
"""The requests of each work. Connections send them one after the other, again and again."""

_ONE_DOCUMENT = "query Run($id: ID!) { flowRun(id: $id) { %s } }"
_PEER_FIELDS = {
    RUN_FIELDS: RUN_FIELDS.replace("id status", "rowId status"),
    NESTED_FIELDS: """rowId status createdAt durationMs flowByFlowId { rowId name }
        stepResultsByRunId(orderBy: [PRIMARY_KEY_ASC]) { nodes { name kind status durationMs } }""",
}


def graphql(document: str, variables: Mapping[str, object], key: str | None = None) -> bytes:
    """Returns the bytes of a GraphQL request, with an API key if one is given."""
    return request("/graphql", json.dumps({"query": document, "variables": variables}).encode(), key)


def _messages(count: int, page: Callable[[Work, UUID], bytes], single: Callable[[Work, UUID], bytes]) -> Messages:
    """Returns the requests of all works: `page` creates a request for the runs of a flow, `single` a request for one
    run."""
    flows = [flow_id(number) for number in range(FLOWS)]
    runs = [run_id(number, count) for number in range(count - SINGLE_RUNS + 1, count + 1)]
    return {
        work: [single(work, each) for each in runs] if work.first is None else [page(work, each) for each in flows]
        for work in WORKS
    }


def of_service(count: int, key: str) -> Messages:
    """Returns the requests to Flow Runs."""

    def page(work: Work, flow: UUID) -> bytes:
        document = f"""query Runs($first: Int!, $filter: FlowRunFilter) {{
            flowRuns(first: $first, filter: $filter) {{ nodes {{ {work.fields} }} }} }}"""
        variables = {"first": work.first, "filter": {"flowIds": [ids.encode(IdKind.FLOW, flow)]}}
        return graphql(document, variables, key)

    def single(work: Work, run: UUID) -> bytes:
        return graphql(_ONE_DOCUMENT % work.fields, {"id": ids.encode(IdKind.RUN, run)}, key)

    return _messages(count, page, single)


def of_floor(count: int) -> Messages:
    """Returns the requests to the endpoints written by hand."""

    def page(work: Work, flow: UUID) -> bytes:
        given = urlencode({"first": work.first, "flow": ids.encode(IdKind.FLOW, flow)})
        return request(f"/{work.letter}?{given}", None, None)

    def single(work: Work, run: UUID) -> bytes:
        return request(f"/{work.letter}?{urlencode({'id': ids.encode(IdKind.RUN, run)})}", None, None)

    return _messages(count, page, single)


def of_plain(count: int) -> Messages:
    """Returns the requests to plain Strawberry."""

    def page(work: Work, flow: UUID) -> bytes:
        document = f"""query Runs($first: Int!, $flow: ID!) {{
            flowRuns(first: $first, flow: $flow) {{ nodes {{ {work.fields} }} }} }}"""
        return graphql(document, {"first": work.first, "flow": ids.encode(IdKind.FLOW, flow)})

    def single(work: Work, run: UUID) -> bytes:
        return graphql(_ONE_DOCUMENT % work.fields, {"id": ids.encode(IdKind.RUN, run)})

    return _messages(count, page, single)


def of_postgraphile(count: int) -> Messages:
    """Returns the requests to PostGraphile.

    It offers conditions only on indexed columns, and no run of these pages is archived.
    """

    def page(work: Work, flow: UUID) -> bytes:
        document = f"""query Runs($first: Int!, $condition: FlowRunCondition) {{
            allFlowRuns(first: $first, orderBy: [PRIMARY_KEY_DESC], condition: $condition) {{
                nodes {{ {_PEER_FIELDS[work.fields]} }} }} }}"""
        condition = {"projectId": str(PROJECT_ID), "flowId": str(flow)}
        return graphql(document, {"first": work.first, "condition": condition})

    def single(work: Work, run: UUID) -> bytes:
        document = f"query Run($id: UUID!) {{ flowRunByRowId(rowId: $id) {{ {_PEER_FIELDS[work.fields]} }} }}"
        return graphql(document, {"id": str(run)})

    return _messages(count, page, single)
