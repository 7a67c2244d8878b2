"""Holds and the drain over the API, and what clients see of them."""

import asyncio
from typing import Any

from click.testing import CliRunner

from db.runs import claims
from service import cli
from tests.support.app import App
from tests.support.slot_harness import LEASE

ECHO = {"steps": [{"name": "echo", "kind": "transform", "input": "{{ run.input }}"}]}
HOLD = "hold { reason heldBy { kind name } heldAt }"
FLOW = f"""mutation($id: ID!, $reason: String) {{ it: holdFlow(flowId: $id, reason: $reason) {{
    ... on HoldFlowSuccess {{ flow {{ {HOLD} }} }} ... on UserError {{ code }} }} }}"""
RELEASE_FLOW = """mutation($id: ID!) { it: releaseFlow(flowId: $id) {
    ... on ReleaseFlowSuccess { flow { hold { reason } } } ... on UserError { code } } }"""
PROJECT = f"""mutation {{ it: holdProject(reason: "maintenance") {{
    ... on HoldProjectSuccess {{ project {{ {HOLD} }} }} ... on UserError {{ code }} }} }}"""
RELEASE_PROJECT = """mutation { it: releaseProject { ... on ReleaseProjectSuccess { project { hold { reason } } } } }"""
WAITING = """query($id: ID!) { flowRun(id: $id) { status waitingFor { kind until position
    blockedBy { __typename id ... on Flow { name } } } } }"""
LISTED = "query($kinds: [WaitKind!]) { flowRuns(filter: {waitingFor: $kinds}) { totalCount nodes { id } } }"


async def claim(app: App) -> list[Any]:
    """Lets a worker look for runs."""
    return [claimed.run.id for claimed in await app.database.write(claims.claim, 10, LEASE)]


async def waiting(app: App, run_id: str) -> Any:
    return (await app.query(WAITING, {"id": run_id}))["flowRun"]["waitingFor"]


async def test_held_flow_queues_its_runs_and_says_so(either_app: App) -> None:
    app = either_app
    flow = await app.create_flow(ECHO)
    held = (await app.query(FLOW, {"id": flow, "reason": "the shop is down"}, key=app.keys.operator))["it"]["flow"]
    assert held["hold"] | {"heldAt": ""} == {
        "reason": "the shop is down",
        "heldBy": {"kind": "API_KEY", "name": "operator for tests"},
        "heldAt": "",
    }
    run = (await app.start(flow))["run"]["id"]  # it is not refused
    assert (await waiting(app, run))["kind"] == "WORKER"
    assert await claim(app) == []
    assert await waiting(app, run) == {
        "kind": "RELEASE",
        "until": None,
        "position": None,
        "blockedBy": {"__typename": "Flow", "id": flow, "name": "flow"},
    }
    assert (await app.query("query($id: ID!) { flowRun(id: $id) { waitingFor { kind } } }", {"id": run}))[
        "flowRun"
    ] == {"waitingFor": {"kind": "RELEASE"}}
    for kinds, count in ((["RELEASE"], 1), (["SLOT"], 0), (["WORKER", "TIME"], 0), (["SLOT", "RELEASE"], 1)):
        assert (await app.query(LISTED, {"kinds": kinds}))["flowRuns"]["totalCount"] == count
    for is_held in (True, False):
        found = await app.query(
            "query($held: Boolean) { flows(filter: {held: $held}) { totalCount } }", {"held": is_held}
        )
        assert found["flows"]["totalCount"] == is_held
    # Another reason is a change, the same one is none.
    for reason in ("it is up soon", "it is up soon"):
        changed = (await app.query(FLOW, {"id": flow, "reason": reason}))["it"]["flow"]["hold"]
        assert (changed["reason"], changed["heldBy"]["name"]) == ("it is up soon", "operator for tests")
    for _ in range(2):
        assert (await app.query(RELEASE_FLOW, {"id": flow}))["it"] == {"flow": {"hold": None}}
    assert (await waiting(app, run))["kind"] == "WORKER"
    assert len(await claim(app)) == 1
    changes = "{ auditEvents(filter: {actions: [HOLD_FLOW, RELEASE_FLOW]}) { nodes { action details } } }"
    events = (await app.query(changes))["auditEvents"]["nodes"]
    assert [(event["action"], event["details"]["reason"]) for event in events] == [
        ("RELEASE_FLOW", "it is up soon"),
        ("HOLD_FLOW", "it is up soon"),
        ("HOLD_FLOW", "the shop is down"),
    ]
    others = app.keys.other_admin
    for text in (FLOW, RELEASE_FLOW):
        assert (await app.query(text, {"id": flow}, key=others))["it"]["code"] == "FLOW_NOT_FOUND"


async def test_held_project_queues_the_runs_of_its_flows(idle_app: App) -> None:
    app = idle_app
    flow = await app.create_flow(ECHO)
    held = (await app.query(PROJECT))["it"]["project"]["hold"]
    assert held["reason"] == "maintenance"
    assert (await app.query(f"{{ viewer {{ project {{ {HOLD} }} }} }}"))["viewer"]["project"]["hold"] == held
    run = (await app.start(flow))["run"]["id"]
    assert await claim(app) == []
    assert (await waiting(app, run))["blockedBy"] == {"__typename": "Project", "id": app.project}
    refused = (await app.query(PROJECT, key=app.keys.all_projects))["it"]
    assert refused["code"] == "PROJECT_REQUIRED"
    assert (await app.query(RELEASE_PROJECT))["it"] == {"project": {"hold": None}}
    assert len(await claim(app)) == 1


async def test_drained_service_takes_no_run_until_it_is_undrained(app: App, database_url: str) -> None:
    commands = CliRunner(env={"FLOWRUNS_DATABASE_URL": database_url})
    flow = await app.create_flow(ECHO)

    def command(*arguments: str) -> str:
        result = commands.invoke(cli.main, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    drained = await asyncio.to_thread(command, "drain", "--reason", "a new disk")
    assert drained == "Workers take no more runs.\nNo run is under way.\n"
    assert await asyncio.to_thread(command, "drain", "--no-wait") == "Workers took no runs already.\n"
    shown = (await app.query("{ drain { reason heldBy { kind } } }"))["drain"]
    assert shown == {"reason": "a new disk", "heldBy": {"kind": "CLI"}}
    assert (await app.http.get("/readyz")).text.startswith("ready, drained since 20")
    run = (await app.start(flow, waitMs=2_500, select="id status"))["run"]
    assert run["status"] == "QUEUED"
    assert await asyncio.to_thread(command, "undrain") == "Workers take runs.\n"
    assert (await app.wait_until_final(run["id"]))["status"] == "SUCCEEDED"
    assert (await app.query("{ drain { reason } }"))["drain"] is None
    assert (await app.http.get("/readyz")).text == "ready\n"
    events = await app.query(
        "{ auditEvents(filter: {actions: [DRAIN, UNDRAIN]}) { nodes { action actor { kind } } } }",
        key=app.keys.all_projects,
    )
    assert [event["action"] for event in events["auditEvents"]["nodes"]] == ["UNDRAIN", "DRAIN"]
