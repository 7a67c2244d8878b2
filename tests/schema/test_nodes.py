"""Typed IDs, `node` and `nodes`, and the viewer."""

from uuid import uuid4

import pytest

from domain.time import clock
from tests.support.app import App
from tests.support.run_family import make_flow, make_run_family, make_runs

KINDS = {"project": "Project", "flow": "Flow", "version": "FlowVersion", "failed": "FlowRun", "bulk": "BulkOperation"}
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"


async def test_node_returns_every_node_type(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    for name, kind in KINDS.items():
        found = await idle_app.query(
            "query($id: ID!) { node(id: $id) { __typename id } }", {"id": family.variables[name]}
        )
        assert found["node"] == {"__typename": kind, "id": family.variables[name]}


async def test_nodes_keep_order_with_null_for_unknown_ids(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    asked = [family.failed, f"run_{uuid4().hex}", family.flow, family.failed]
    found = (await idle_app.query(NODES, {"ids": asked}))["nodes"]
    assert [node and node["id"] for node in found] == [family.failed, None, family.flow, family.failed]


async def test_nodes_accepts_at_most_a_thousand_ids(idle_app: App) -> None:
    unknown = [f"run_{uuid4().hex}" for _ in range(1_001)]
    assert (await idle_app.query(NODES, {"ids": unknown[1:]}))["nodes"] == [None] * 1_000
    assert await idle_app.error_code(NODES, {"ids": unknown}) == "INVALID_ARGUMENT"


async def test_foreign_nodes_are_visible_only_to_operator_keys(idle_app: App) -> None:
    family = await make_run_family(idle_app)
    asked = [family.variables[name] for name in KINDS]
    hidden = await idle_app.query(NODES, {"ids": asked}, key=idle_app.keys.other_admin)
    seen = await idle_app.query(NODES, {"ids": asked}, key=idle_app.keys.all_projects)
    assert hidden["nodes"] == [None] * len(asked)
    assert [node["id"] for node in seen["nodes"]] == asked


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        ("flowRun", "flow", "Expected the ID of a run (run_…), got that of a flow"),
        ("flow", "failed", "Expected the ID of a flow (flow_…), got that of a run"),
        ("flow", "version", "Expected the ID of a flow (flow_…), got that of a flow version"),
    ],
)
async def test_id_of_another_type_is_an_error_not_null(idle_app: App, field: str, given: str, expected: str) -> None:
    family = await make_run_family(idle_app)
    body = await idle_app.execute(f"query($id: ID!) {{ {field}(id: $id) {{ id }} }}", {"id": family.variables[given]})
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "INVALID_ID"
    assert expected in error["message"]


async def test_text_that_is_no_node_id_is_refused(idle_app: App) -> None:
    zeros = "0" * 31
    for text in ("", "run_", "run_x", "x", f"run_{zeros}", f"run_{zeros}A", f"key_{zeros}0", f"run_\0{zeros}"):
        assert await idle_app.error_code(NODE, {"id": text}) == "INVALID_ID"


async def test_archived_run_is_found_by_its_id(idle_app: App) -> None:
    published = await make_flow(idle_app)
    (run,) = await make_runs(idle_app, published, {"archived_at": clock.now()})
    assert (await idle_app.query("query($id: ID!) { flowRun(id: $id) { id } }", {"id": run}))["flowRun"]


async def test_viewer_shows_role_and_project_of_the_key(idle_app: App) -> None:
    text = "{ viewer { keyName role project { id name } } }"
    for role in ("viewer", "operator", "admin"):
        own = await idle_app.query(text, key=getattr(idle_app.keys, role))
        other = await idle_app.query(text, key=getattr(idle_app.keys, f"other_{role}"))
        expected = {"keyName": f"{role} for tests", "role": role.upper()}
        assert own["viewer"] == expected | {"project": {"id": idle_app.project, "name": "default"}}
        assert other["viewer"] == expected | {"project": {"id": idle_app.other_project, "name": "other"}}


async def test_viewer_of_operator_key_has_no_project(idle_app: App) -> None:
    found = await idle_app.query("{ viewer { role project { id } } }", key=idle_app.keys.all_projects)
    assert found["viewer"] == {"role": "ADMIN", "project": None}


async def test_limits_equal_the_enforced_ones(idle_app: App) -> None:
    limits = (await idle_app.query("{ viewer { limits { maxPageSize maxTags maxWaitMs } } }"))["viewer"]["limits"]
    page = "query($n: Int) { flowRuns(first: $n) { nodes { id } } }"
    await idle_app.query(page, {"n": limits["maxPageSize"]})
    assert await idle_app.error_code(page, {"n": limits["maxPageSize"] + 1}) == "INVALID_ARGUMENT"
