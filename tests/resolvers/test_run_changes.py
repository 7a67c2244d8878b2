"""Tags, metadata and notes of runs that were started; the check of definitions."""

from typing import Any

import pytest
from sqlalchemy import select

from db.events import log as event_log
from db.models import RunEvent
from db.models.types import table
from db.runs import reads
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.runs.run_filter import RunFilter
from live.topics import RunsTopic
from tests.support.app import App
from tests.support.run_family import make_flow, make_runs

UPDATE = """mutation($id: ID!, $tags: [String!], $add: [String!], $remove: [String!], $metadata: JSON, $note: String) {
    result: updateRun(runId: $id, tags: $tags, addTags: $add, removeTags: $remove, metadata: $metadata, note: $note) {
        __typename ... on UserError { code } ... on UpdateRunSuccess { run { tags metadata note updatedAt } } } }"""
FOUND = "query($where: FlowRunFilter) { flowRuns(filter: $where) { totalCount } }"


async def update(app: App, run: str, **variables: Any) -> Any:
    result = (await app.query(UPDATE, {"id": run, **variables}))["result"]
    return result.get("run") or result["code"]


async def test_tags_metadata_and_note_of_a_run_change(idle_app: App) -> None:
    app = idle_app
    row = {"status": RunStatus.SUCCEEDED, "tags": ["red", "blue"], "metadata": '{"order": 7}'}
    (run,) = await make_runs(app, await make_flow(app), row)
    changed = await update(app, run, add=["green", "red"], remove=["blue"], note="Known, see 12")
    assert (changed["tags"], changed["metadata"], changed["note"]) == (["red", "green"], {"order": 7}, "Known, see 12")
    changed = await update(app, run, metadata={"order": 8})
    assert (changed["tags"], changed["metadata"], changed["note"]) == (["red", "green"], {"order": 8}, "Known, see 12")
    # The indexes of both databases follow.
    for where, count in (({"tags": ["green"]}, 1), ({"tags": ["blue"]}, 0), ({"metadata": {"order": 8}}, 1)):
        assert (await app.query(FOUND, {"where": where}))["flowRuns"]["totalCount"] == count, where
    # What is already so is no change.
    assert await update(app, run, tags=["red", "green"], metadata={"order": 8}) == changed
    assert (await update(app, run, tags=[], note=None))["tags"] == []
    audit = """query($id: ID!) { auditEvents(filter: {objectIds: [$id]}) { nodes { action details } } }"""
    events = (await app.query(audit, {"id": run}))["auditEvents"]["nodes"]
    assert [event["action"] for event in events] == ["UPDATE_RUN"] * 3
    assert events[2]["details"]["changes"]["tags"] == {"from": ["red", "blue"], "to": ["red", "green"]}
    assert events[1]["details"]["changes"] == {"metadata": {}}


@pytest.mark.parametrize(
    "refused",
    [{"tags": ["a"], "add": ["b"]}, {"tags": [""]}, {"metadata": [1]}, {"note": ""}, {"add": [*map(str, range(51))]}],
)
async def test_invalid_change_is_refused(idle_app: App, refused: dict[str, Any]) -> None:
    (run,) = await make_runs(idle_app, await make_flow(idle_app), {})
    assert await idle_app.error_code(UPDATE, {"id": run, **refused}) == "INVALID_ARGUMENT"


async def test_run_of_another_project_is_not_found(idle_app: App) -> None:
    (run,) = await make_runs(idle_app, await make_flow(idle_app), {})
    found = await idle_app.query(UPDATE, {"id": run, "note": "mine"}, key=idle_app.keys.other_admin)
    assert found["result"]["code"] == "RUN_NOT_FOUND"


async def test_streams_report_whether_the_run_matched_before_and_after(idle_app: App) -> None:
    app = idle_app
    (run,) = await make_runs(app, await make_flow(app), {"tags": ["red"], "metadata": '{"order": 7}'})
    await update(app, run, tags=["blue"])
    await update(app, run, metadata={"order": 8})
    await update(app, run, note="Last")
    key = ids.decode(IdKind.RUN, run)
    columns = frozenset({"status", "tags", "metadata", "archived_at", "project_id", "note"})
    row = (await app.database.read(reads.by_ids, [key], columns))[key]
    log = table(RunEvent)
    changed = select(log).where(log.c.kind == event_log.RUN_CHANGED).order_by(log.c.seq)
    events = await app.database.read(lambda conn: conn.execute(changed).all())
    signs = {True: "+", False: "-", None: "."}
    for where, expected in (
        (RunFilter(tags=["red"]), "-.."),
        (RunFilter(tags=["blue"]), "+++"),
        # The row was read after the last change: before the second change, its metadata are those of a later time.
        (RunFilter(metadata='{"order":7}'), ".-."),
        (RunFilter(metadata='{"order":8}'), "+++"),
        (RunFilter(), "+++"),
        (RunFilter(statuses=[RunStatus.FAILED]), "..."),
    ):
        match = RunsTopic(where).matcher().match
        assert "".join(signs[match(event, row)] for event in events) == expected, where
    # An access token does not see the run that has left its scope, not even in a replay of how it got there.
    confined = RunsTopic(RunFilter(tags=["red"]), is_confined=True).matcher().match
    assert [confined(event, row) for event in events] == [None, None, None]
    confined = RunsTopic(RunFilter(tags=["blue"]), is_confined=True).matcher().match
    assert [confined(event, row) for event in events] == [True, True, True]
    await update(app, run, tags=["gone"])
    row = (await app.database.read(reads.by_ids, [key], columns))[key]
    assert RunsTopic(RunFilter(tags=["blue"])).matcher().match(events[0], row)
    assert [confined(event, row) for event in events] == [None, None, None]


async def test_definition_is_checked_without_being_published(idle_app: App) -> None:
    text = """query($it: JSON!) { validateFlowDefinition(definition: $it) {
        isValid problems { path message } warnings { path } steps { name kind } } }"""
    headers = {"authorization": "Bearer 0123456789abcdef0123"}
    step = {"name": "a", "kind": "http", "input": {"url": "https://example.com", "headers": headers}}
    good = (await idle_app.query(text, {"it": {"steps": [step]}}, key=idle_app.keys.viewer))["validateFlowDefinition"]
    assert (good["isValid"], good["problems"], good["steps"]) == (True, [], [{"name": "a", "kind": "http"}])
    assert len(good["warnings"]) == 1
    bad = (await idle_app.query(text, {"it": {"steps": [{**step, "kind": "ftp"}]}}))["validateFlowDefinition"]
    assert (bad["isValid"], bad["steps"]) == (False, [])
    assert bad["problems"][0]["path"].startswith("steps[0]")
    assert (await idle_app.query("{ flows { totalCount } }"))["flows"]["totalCount"] == 0
