"""Saved views: shared ones, and those of one key."""

from typing import Any

import pytest

from resolvers.console import saved_views
from tests.support.app import App
from tests.support.run_family import make_run_family

FIELDS = "id name isShared filter orderBy { field direction } updatedBy { name }"
CREATE = f"""mutation($name: String!, $filter: FlowRunFilter!, $order: FlowRunOrder, $shared: Boolean!, $project: ID) {{
    it: createSavedView(name: $name, filter: $filter, orderBy: $order, shared: $shared, projectId: $project) {{
        ... on CreateSavedViewSuccess {{ savedView {{ {FIELDS} }} }} ... on UserError {{ code }} }} }}"""
UPDATE = f"""mutation($id: ID!, $name: String, $filter: FlowRunFilter, $order: FlowRunOrder, $shared: Boolean) {{
    it: updateSavedView(id: $id, name: $name, filter: $filter, orderBy: $order, shared: $shared) {{
        ... on UpdateSavedViewSuccess {{ savedView {{ {FIELDS} }} }} ... on UserError {{ code }} }} }}"""
DELETE = """mutation($id: ID!) { it: deleteSavedView(id: $id) {
    ... on DeleteSavedViewSuccess { savedViewId } ... on UserError { code } } }"""
NODE = "query($id: ID!) { node(id: $id) { ... on SavedView { name } } }"
FAILED = {"statuses": ["FAILED"], "not": {"tags": ["test"]}}


async def create(app: App, name: str, *, shared: bool = False, key: str | None = None, **more: Any) -> Any:
    variables = {"name": name, "filter": FAILED, "shared": shared, **more}
    return (await app.query(CREATE, variables, key=key))["it"]


async def names(app: App, key: str | None = None, project: str | None = None) -> list[str]:
    text = "query($p: ID) { savedViews(projectId: $p) { name } }"
    return [each["name"] for each in (await app.query(text, {"p": project}, key=key))["savedViews"]]


async def test_shared_views_are_of_the_project_and_others_of_their_key(idle_app: App) -> None:
    keys = idle_app.keys
    made = await create(idle_app, "Failed", shared=True, order={"field": "DURATION", "direction": "ASC"})
    assert made["savedView"] == {
        "id": made["savedView"]["id"],
        "name": "Failed",
        "isShared": True,
        "filter": FAILED,
        "orderBy": {"field": "DURATION", "direction": "ASC"},
        "updatedBy": {"name": "admin for tests"},
    }
    own = (await create(idle_app, "Failed"))["savedView"]
    assert own["orderBy"] == {"field": "CREATED_AT", "direction": "DESC"}
    assert (
        await create(idle_app, "Failed")
        == await create(idle_app, "Failed", shared=True)
        == {"code": "SAVED_VIEW_NAME_TAKEN"}
    )
    assert "savedView" in await create(idle_app, "Failed", key=keys.operator)
    assert "savedView" in await create(idle_app, "Failed", shared=True, key=keys.other_operator)
    assert await names(idle_app) == ["Failed", "Failed"]
    assert await names(idle_app, keys.viewer) == ["Failed"]
    assert await names(idle_app, keys.other_viewer) == ["Failed"]
    assert await names(idle_app, keys.other_viewer, idle_app.project) == []
    # The view of another key does not exist for other keys.
    for text in (UPDATE, DELETE):
        assert (await idle_app.query(text, {"id": own["id"]}, key=keys.operator))["it"] == {
            "code": "SAVED_VIEW_NOT_FOUND"
        }
    assert (await idle_app.query(NODE, {"id": own["id"]}))["node"] == {"name": "Failed"}
    assert (await idle_app.query(NODE, {"id": own["id"]}, key=keys.viewer))["node"] is None
    # The saved filter is a value for lists.
    text = "query($f: FlowRunFilter) { flowRuns(filter: $f) { totalCount } }"
    assert (await idle_app.query(text, {"f": own["filter"]}))["flowRuns"] == {"totalCount": 0}


async def test_operator_keys_name_a_project(idle_app: App) -> None:
    operator = idle_app.keys.all_projects
    assert await create(idle_app, "All", key=operator) == {"code": "PROJECT_REQUIRED"}
    assert "savedView" in await create(idle_app, "All", shared=True, key=operator, project=idle_app.other_project)
    assert await names(idle_app, operator, idle_app.other_project) == ["All"]
    assert await idle_app.error_code("{ savedViews { name } }", key=operator) == "INVALID_ARGUMENT"


async def test_views_are_changed_and_deleted(idle_app: App) -> None:
    own = (await create(idle_app, "Mine"))["savedView"]["id"]
    await create(idle_app, "Ours", shared=True)

    async def change(**values: Any) -> Any:
        return (await idle_app.query(UPDATE, {"id": own, **values}))["it"]

    changed = (await change(name="Slow", order={"field": "DURATION"}))["savedView"]
    assert (changed["name"], changed["filter"], changed["orderBy"]["field"]) == ("Slow", FAILED, "DURATION")
    assert (await change(name="Ours", shared=True)) == {"code": "SAVED_VIEW_NAME_TAKEN"}
    changed = (await change(filter={"tags": ["a"]}, shared=True))["savedView"]
    assert (changed["name"], changed["filter"], changed["isShared"]) == ("Slow", {"tags": ["a"]}, True)
    (event,) = (await idle_app.query("{ auditEvents(first: 1) { nodes { details } } }"))["auditEvents"]["nodes"]
    assert event["details"] == {"name": "Slow", "changes": {"filter": {}, "shared": {"from": False, "to": True}}}
    assert (await idle_app.query(DELETE, {"id": own}))["it"] == {"savedViewId": own}
    assert await names(idle_app) == ["Ours"]
    for values in ({"name": ""}, {"filter": {"ids": ["x"]}}):
        body = await idle_app.execute(UPDATE, {"id": own, **values})
        assert body["errors"][0]["extensions"]["code"] in ("INVALID_ARGUMENT", "INVALID_ID")


async def test_views_of_a_rotated_key_follow_it(idle_app: App) -> None:
    made = await idle_app.query(
        """mutation { it: createApiKey(name: "ci", role: OPERATOR) { ... on CreateApiKeySuccess {
            secret apiKey { id } } } }"""
    )
    await create(idle_app, "Mine", key=made["it"]["secret"])
    text = "mutation($id: ID!) { it: rotateApiKey(id: $id) { ... on RotateApiKeySuccess { secret } } }"
    rotated = (await idle_app.query(text, {"id": made["it"]["apiKey"]["id"]}))["it"]["secret"]
    assert await names(idle_app, rotated) == ["Mine"]
    assert await names(idle_app, made["it"]["secret"]) == []


async def test_number_of_views_is_limited(idle_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await make_run_family(idle_app)  # has one shared view
    monkeypatch.setattr(saved_views, "MAX_VIEWS", 2)
    for name in ("a", "b"):
        assert "savedView" in await create(idle_app, name)
    assert "savedView" in await create(idle_app, "a", shared=True)
    for shared in (False, True):
        body = await idle_app.execute(CREATE, {"name": "c", "filter": {}, "shared": shared})
        assert body["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"
