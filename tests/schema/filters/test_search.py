"""`FlowRunFilter.search` as clients write it: found, refused, and off."""

import pytest

from db.search import switch
from tests.support.app import App
from tests.support.run_family import make_flow, make_runs

LIST = "query($filter: FlowRunFilter) { flowRuns(filter: $filter) { nodes { id input } totalCount } }"
STATS = "query($filter: FlowRunFilter) { flowRunStats(filter: $filter) { total } }"
ARCHIVE = """mutation($filter: FlowRunFilter) {
    bulkArchive(filter: $filter) { ... on BulkOperationSuccess { operation { matched } } } }"""
OF_FLOWS = "query($filter: FlowRunFilter) { flows { nodes { runs(filter: $filter) { nodes { id } totalCount } } } }"
BLIND = """mutation { it: createApiKey(name: "blind", role: ADMIN, payloads: false) {
    ... on CreateApiKeySuccess { secret } } }"""
TOKEN = """mutation($filter: FlowRunFilter!) { createAccessToken(filter: $filter) { __typename } }"""


async def test_search_in_lists_counts_and_statistics(idle_app: App) -> None:
    await idle_app.database.write(switch.switch_on)
    flow, foreign = await make_flow(idle_app), await make_flow(idle_app, "foreign", project=idle_app.other_project)
    found, _ = await make_runs(idle_app, flow, {"input": '{"who":"Müller \\"Jr\\""}'}, {"input": '{"who":"Meier"}'})
    await make_runs(idle_app, foreign, {"input": '{"who":"Müller"}'})
    for needle in ("MÜLLER", 'müller "jr"'):
        given = {"filter": {"search": needle}}
        listed = (await idle_app.query(LIST, given))["flowRuns"]
        assert [node["id"] for node in listed["nodes"]] == [found]
        assert listed["totalCount"] == 1
        assert (await idle_app.query(STATS, given))["flowRunStats"]["total"] == 1
        (of_flow,) = (await idle_app.query(OF_FLOWS, given))["flows"]["nodes"]
        assert of_flow["runs"] == {"nodes": [{"id": found}], "totalCount": 1}
    assert (await idle_app.query(ARCHIVE, given))["bulkArchive"]["operation"]["matched"] == 1


@pytest.mark.parametrize("document", [LIST, STATS, ARCHIVE, OF_FLOWS])
async def test_search_that_is_off_says_so(idle_app: App, document: str) -> None:
    await make_flow(idle_app)
    assert await idle_app.error_code(document, {"filter": {"search": "needle"}}) == "SEARCH_OFF"
    assert await idle_app.error_code(document, {"filter": {"or": [{"search": "needle"}]}}) == "SEARCH_OFF"


@pytest.mark.parametrize("needle", ["a", "ab", "ab\0"])
async def test_text_that_cannot_be_searched_is_refused(idle_app: App, needle: str) -> None:
    assert await idle_app.error_code(LIST, {"filter": {"search": needle}}) == "INVALID_ARGUMENT"


async def test_search_needs_sight_of_payloads_and_is_no_scope(idle_app: App) -> None:
    await idle_app.database.write(switch.switch_on)
    await make_flow(idle_app)
    blind = (await idle_app.query(BLIND))["it"]["secret"]
    for document in (LIST.replace(" input", ""), STATS, ARCHIVE, OF_FLOWS):
        for where in ({"search": "needle"}, {"not": {"search": "needle"}}):
            assert await idle_app.error_code(document, {"filter": where}, key=blind) == "FORBIDDEN"
    assert await idle_app.error_code(TOKEN, {"filter": {"search": "needle"}}) == "INVALID_ARGUMENT"
