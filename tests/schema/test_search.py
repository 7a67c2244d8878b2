"""`FlowRunFilter.search` as clients write it: found, refused, and off."""

import pytest

from db.search import switch
from tests.support.app import App
from tests.support.run_family import make_flow, make_runs

LIST = "query($filter: FlowRunFilter) { flowRuns(filter: $filter) { nodes { id input } totalCount } }"
STATS = "query($filter: FlowRunFilter) { flowRunStats(filter: $filter) { total } }"
ARCHIVE = """mutation($filter: FlowRunFilter) {
    bulkArchive(filter: $filter) { __typename } }"""


async def test_search_in_lists_counts_and_statistics(idle_app: App) -> None:
    await idle_app.database.write(switch.switch_on)
    flow, foreign = await make_flow(idle_app), await make_flow(idle_app, project="foreign")
    found, _ = await make_runs(idle_app, flow, {"input": '{"who":"Müller \\"Jr\\""}'}, {"input": '{"who":"Meier"}'})
    await make_runs(idle_app, foreign, {"input": '{"who":"Müller"}'})
    for needle in ("MÜLLER", 'müller "jr"'):
        given = {"filter": {"search": needle}}
        listed = (await idle_app.query(LIST, given))["flowRuns"]
        assert [node["id"] for node in listed["nodes"]] == [found]
        assert listed["totalCount"] == 1
        assert (await idle_app.query(STATS, given))["flowRunStats"]["total"] == 1


@pytest.mark.parametrize("document", [LIST, STATS, ARCHIVE])
async def test_search_that_is_off_says_so(idle_app: App, document: str) -> None:
    assert await idle_app.error_code(document, {"filter": {"search": "needle"}}) == "SEARCH_OFF"
    assert await idle_app.error_code(document, {"filter": {"or": [{"search": "needle"}]}}) == "SEARCH_OFF"


@pytest.mark.parametrize("needle", ["a", "ab", "ab\0"])
async def test_text_that_cannot_be_searched_is_refused(idle_app: App, needle: str) -> None:
    assert await idle_app.error_code(LIST, {"filter": {"search": needle}}) == "INVALID_ARGUMENT"
