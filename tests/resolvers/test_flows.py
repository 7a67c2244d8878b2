"""Creating, publishing and changing flows."""

import asyncio
from typing import Any

from tests.support.app import App

GOOD = {"steps": [{"name": "a", "kind": "transform", "input": "{{ run.input }}"}]}
PROBLEMS = "... on UserError { code message } ... on DefinitionInvalid { problems { path message } }"
CREATE = f"""mutation($name: String!, $definition: JSON, $project: ID) {{
    result: createFlow(name: $name, definition: $definition, projectId: $project) {{ __typename {PROBLEMS}
    ... on CreateFlowSuccess {{ flow {{
        id name enabled project {{ id }} publishedVersion {{ number stepCount definition }} }} }} }} }}"""
PUBLISH = f"""mutation($id: ID!, $definition: JSON!) {{
    result: publishFlowVersion(flowId: $id, definition: $definition) {{ __typename {PROBLEMS}
    ... on PublishFlowVersionSuccess {{ flowVersion {{ number flow {{ publishedVersion {{ number }} }} }} }} }} }}"""
UPDATE = """mutation($id: ID!, $name: String, $enabled: Boolean) {
    result: updateFlow(flowId: $id, name: $name, enabled: $enabled) { __typename ... on UserError { code }
    ... on UpdateFlowSuccess { flow { name enabled createdAt updatedAt } } } }"""
UNKNOWN = "flow_" + "0" * 32


async def mutate(app: App, text: str, key: str | None = None, **variables: Any) -> Any:
    return (await app.query(text, variables, key=key))["result"]


def step(name: str = "a", kind: str = "transform", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "input": "x", **more}


async def test_created_flow_is_published_if_it_has_a_definition(idle_app: App) -> None:
    created = await mutate(idle_app, CREATE, name="  billing ", definition=GOOD)
    flow = created["flow"]
    assert flow.pop("id").startswith("flow_")
    assert flow == {
        "name": "billing",
        "enabled": True,
        "project": {"id": idle_app.project},
        "publishedVersion": {"number": 1, "stepCount": 1, "definition": GOOD},
    }
    bare = await mutate(idle_app, CREATE, name="later")
    assert bare["flow"]["publishedVersion"] is None


async def test_flow_name_is_unique_in_project(idle_app: App) -> None:
    await mutate(idle_app, CREATE, name="billing")
    assert (await mutate(idle_app, CREATE, name="billing"))["code"] == "FLOW_NAME_TAKEN"
    other = await mutate(idle_app, CREATE, name="billing", key=idle_app.keys.other_admin)
    assert other["__typename"] == "CreateFlowSuccess"


async def test_invalid_definition_creates_no_flow(idle_app: App) -> None:
    assert (await mutate(idle_app, CREATE, name="billing", definition={}))["code"] == "DEFINITION_INVALID"
    assert (await idle_app.query("{ flows { totalCount } }"))["flows"]["totalCount"] == 0


async def test_invalid_flow_name_is_refused(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    for name in ("", "  ", "x" * 201, "a\0b"):
        assert await idle_app.error_code(CREATE, {"name": name}) == "INVALID_ARGUMENT"
        assert await idle_app.error_code(UPDATE, {"id": flow, "name": name}) == "INVALID_ARGUMENT"


async def test_operator_key_names_the_project(idle_app: App) -> None:
    key = idle_app.keys.all_projects
    assert (await mutate(idle_app, CREATE, key=key, name="x"))["code"] == "PROJECT_REQUIRED"
    unknown = await mutate(idle_app, CREATE, key=key, name="x", project="proj_" + "0" * 32)
    assert unknown["code"] == "PROJECT_NOT_FOUND"
    created = await mutate(idle_app, CREATE, key=key, name="x", project=idle_app.other_project)
    assert created["flow"]["project"]["id"] == idle_app.other_project


async def test_project_keys_create_only_in_their_project(idle_app: App) -> None:
    foreign = await mutate(idle_app, CREATE, name="x", project=idle_app.other_project)
    unknown = await mutate(idle_app, CREATE, name="x", project="proj_" + "0" * 32)
    assert foreign == unknown
    assert foreign["code"] == "PROJECT_NOT_FOUND"
    own = await mutate(idle_app, CREATE, name="x", project=idle_app.project)
    assert own["flow"]["project"]["id"] == idle_app.project


async def test_versions_are_numbered_from_one_and_newest_is_published(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    for number in (1, 2, 3):
        answer = await mutate(idle_app, PUBLISH, id=flow, definition=GOOD)
        version = answer["flowVersion"]
        assert (version["number"], version["flow"]["publishedVersion"]["number"]) == (number, number)


async def test_concurrent_publications_get_distinct_numbers(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    answers = await asyncio.gather(*(mutate(idle_app, PUBLISH, id=flow, definition=GOOD) for _ in range(8)))
    assert sorted(answer["flowVersion"]["number"] for answer in answers) == list(range(1, 9))


FAULTS: list[tuple[Any, list[str]]] = [
    ({}, ["steps"]),
    ({"steps": []}, ["steps"]),
    (5, [""]),
    ({"steps": [step()], "nope": 1}, ["nope"]),
    ({"steps": [step(), step("b"), {"name": "c", "kind": "http", "input": {"url": 5}}]}, ["steps[2].input.url"]),
    ({"steps": [step("1 bad"), step("b", "nope"), step("c", retry={"attempts": 0})]},
     ["steps[0].name", "steps[1].kind", "steps[2].retry.attempts"]),
    ({"steps": [step(), step()]}, ["steps[1].name"]),
    ({"steps": [step()] + [step(f"s{number}") for number in range(200)]}, ["steps"]),
    ({"steps": [step(timeout=0), step("b", timeout="x")]}, ["steps[0].timeout", "steps[1].timeout"]),
    ({"steps": [step()], "inputSchema": {"type": "nope"}}, ["inputSchema"]),
    ({"steps": [step()], "inputSchema": {"$ref": "http://169.254.169.254/x"}}, ["inputSchema"]),
    ({"steps": [step(input="{{ nope(")]}, ["steps[0].input"]),
    ({"steps": [step(input={"a": ["{{ x", {"b": "{% for %}"}]})]}, ["steps[0].input.a[0]", "steps[0].input.a[1].b"]),
    ({"steps": [step(when="{{ 1 +")]}, ["steps[0].when"]),
    ({"steps": [step()], "output": {"x": "{{ ) }}"}}, ["output.x"]),
    ({"steps": [{"name": "a", "kind": "http", "input": {"url": "{{ x(", "headers": {"h": "{{ ) }}"}}}]},
     ["steps[0].input.url", "steps[0].input.headers.h"]),
]  # fmt: skip


async def test_invalid_definition_lists_problems_with_paths(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    for definition, paths in FAULTS:
        answer = await mutate(idle_app, PUBLISH, id=flow, definition=definition)
        assert (answer["__typename"], answer["code"]) == ("DefinitionInvalid", "DEFINITION_INVALID"), definition
        assert [problem["path"] for problem in answer["problems"]] == paths
        assert all(problem["message"] for problem in answer["problems"])


async def test_too_large_definition_is_refused(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    answer = await mutate(idle_app, PUBLISH, id=flow, definition={"steps": [step(input="x" * 600_000)]})
    assert answer["code"] == "INPUT_TOO_LARGE"


async def test_too_deeply_nested_definition_is_refused(idle_app: App) -> None:
    flow = await idle_app.create_flow(None)
    value: Any = "x"
    for _ in range(500):
        value = [value]
    assert await idle_app.error_code(PUBLISH, {"id": flow, "definition": {"steps": [step(input=value)]}}) == (
        "INVALID_ARGUMENT"
    )


async def test_flow_is_renamed_disabled_and_enabled(idle_app: App) -> None:
    flow = await idle_app.create_flow(None, "old")
    assert (await mutate(idle_app, UPDATE, id=flow, name="new"))["flow"]["name"] == "new"
    assert (await mutate(idle_app, UPDATE, id=flow, enabled=False))["flow"]["enabled"] is False
    both = (await mutate(idle_app, UPDATE, id=flow, name="newer", enabled=True))["flow"]
    assert (both["name"], both["enabled"]) == ("newer", True)
    unchanged = (await mutate(idle_app, UPDATE, id=flow))["flow"]
    assert (unchanged["name"], unchanged["enabled"]) == ("newer", True)
    assert unchanged["updatedAt"] >= unchanged["createdAt"]


async def test_each_update_of_a_document_returns_its_own_result(idle_app: App) -> None:
    flow = await idle_app.create_flow(None, "old")
    one = 'updateFlow(flowId: "{}", name: "{}") {{ ... on UpdateFlowSuccess {{ flow {{ name }} }} }}'
    result = await idle_app.query(f"mutation {{ a: {one.format(flow, 'x')} b: {one.format(flow, 'y')} }}")
    assert [result[alias]["flow"]["name"] for alias in ("a", "b")] == ["x", "y"]


async def test_flow_cannot_be_renamed_to_a_used_name(idle_app: App) -> None:
    await idle_app.create_flow(None, "one")
    flow = await idle_app.create_flow(None, "two")
    assert (await mutate(idle_app, UPDATE, id=flow, name="one"))["code"] == "FLOW_NAME_TAKEN"
    assert (await mutate(idle_app, UPDATE, id=flow, name="two"))["flow"]["name"] == "two"


async def test_disabling_a_flow_keeps_its_runs_going(app: App) -> None:
    flow = await app.create_flow(GOOD)
    run = (await app.start(flow, input=1))["run"]["id"]
    await mutate(app, UPDATE, id=flow, enabled=False)
    assert (await app.wait_until_final(run))["status"] == "SUCCEEDED"


async def test_foreign_flow_is_reported_like_an_unknown_one(idle_app: App) -> None:
    foreign = await idle_app.create_flow(None, key=idle_app.keys.other_admin)
    for flow in (UNKNOWN, foreign):
        assert (await mutate(idle_app, UPDATE, id=flow, name="x"))["code"] == "FLOW_NOT_FOUND"
        assert (await mutate(idle_app, PUBLISH, id=flow, definition=GOOD))["code"] == "FLOW_NOT_FOUND"


async def test_flows_are_filtered(idle_app: App) -> None:
    bare = await idle_app.create_flow(None, "Bare")
    full = await idle_app.create_flow(GOOD, "full_100%")
    off = await idle_app.create_flow(GOOD, "off")
    foreign = await idle_app.create_flow(None, "foreign", key=idle_app.keys.other_admin)
    await mutate(idle_app, UPDATE, id=off, enabled=False)
    text = "query($filter: FlowFilter) { flows(filter: $filter) { nodes { id } totalCount } }"

    async def found(key: str | None = None, **where: Any) -> set[str]:
        page = (await idle_app.query(text, {"filter": where}, key=key))["flows"]
        assert page["totalCount"] == len(page["nodes"])
        return {node["id"] for node in page["nodes"]}

    everywhere = idle_app.keys.all_projects
    assert await found() == {bare, full, off}
    assert await found(ids=[bare, off, foreign]) == {bare, off}
    assert await found(ids=[]) == set()
    assert await found(nameContains="BAR") == {bare}
    assert await found(nameContains="0%") == {full}
    assert await found(nameContains="_") == {full}
    assert await found(enabled=False) == {off}
    assert await found(published=False) == {bare}
    assert await found(published=True, enabled=True) == {full}
    assert await found(projectIds=[idle_app.other_project]) == set()
    assert await found(everywhere) == {bare, full, off, foreign}
    assert await found(everywhere, projectIds=[idle_app.other_project]) == {foreign}
    assert await found(everywhere, projectIds=[]) == set()
