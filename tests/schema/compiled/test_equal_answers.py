"""Compiled reads answer with the bytes of the general path."""

import pytest

from tests.schema.compiled.both_ways import answers
from tests.support.app import App
from tests.support.run_family import make_run_family

RUN = """fragment run on FlowRun { id status environment triggerMethod scheduledFor tags metadata input output
    failedStepName createdAt startedAt finishedAt updatedAt archivedAt failParentOnFailure attempt externalId source
    durationMs error { code message stepName fingerprint } stepData }"""

QUERIES = [
    "{ flowRuns(first: 3) { nodes { ...run } } } " + RUN,
    "{ flowRuns { totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { id } } } }",
    "{ flowRuns { nodes { id flow { name project { name } publishedVersion { number definition } } flowVersion { id } } } }",
    "query($failed: ID!) { flowRun(id: $failed) { steps { name status input output error { code message details }"
    " startedAt finishedAt durationMs attempts { number status error { code details } durationMs } reusedFrom { id }"
    " run { status } } } }",
    "query($failed: ID!) { flowRun(id: $failed) { retries { totalCount nodes { id } edges { cursor node { id } }"
    " pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } childRuns(last: 1) { nodes { id } } stepsCount"
    ' step(name: "b") { output } failedStep { name } statusHistory { from to at message } } }',
    "query($paused: ID!) { flowRun(id: $paused) { pendingInputs { id title schema assignee expiresAt } files { id } } }",
]


@pytest.mark.parametrize("query", QUERIES)
async def test_answers_are_equal(idle_app: App, query: str) -> None:
    family = await make_run_family(idle_app)
    compiled, general = await answers(idle_app, query, family.variables)
    assert compiled == general
