"""Tests of the documentation: its examples run, its definitions are valid, and its links have targets."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.core import pubsub
from db.runs import reads as run_reads
from domain import ids
from domain.ids import IdKind
from domain.runs.state_machine import TRANSITIONS
from engine import actions
from engine.compiled_flow import check
from tests.support.processes.node import running
from tests.support.processes.proxy import Proxy
from tests.support.processes.server import AppServer, Server

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATIENCE = 60.0

_ID = re.compile(r"\b(flow|run|bulk)_[0-9a-f]{32}\b")


def blocks(language: str) -> list[Any]:
    """Returns test parameters: the page and the text of each example in `language`."""
    found = []
    for page in PAGES:
        texts = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        found += [pytest.param(page, text, id=f"{page.stem}-{number}") for number, text in enumerate(texts, 1)]
    return found


def pages_with(language: str) -> list[Any]:
    """Returns test parameters: the page and the texts of all its examples in `language`."""
    texts: dict[Path, list[str]] = {}
    for parameter in blocks(language):
        page, text = parameter.values
        texts.setdefault(page, []).append(text)
    return [pytest.param(examples, id=page.stem) for page, examples in texts.items()]


async def execute(server: Server, text: str) -> dict[str, Any]:
    """Executes a GraphQL document; it must have no error, neither a top-level one nor one of a mutation."""
    headers = {"authorization": f"Bearer {server.admin_key}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=PATIENCE) as http:
        body: dict[str, Any] = (await http.post("/graphql", json={"query": text})).json()
    assert "errors" not in body, body["errors"]
    data: dict[str, Any] = body["data"]
    results = [result for result in data.values() if isinstance(result, dict)]
    assert not [result for result in results if result.keys() & {"code", "problems"}], data
    return data


async def hello_flow(server: Server) -> str:
    """Returns the ID of the demo flow `hello`."""
    data = await execute(server, '{ flows(filter: {nameContains: "hello"}) { nodes { id } } }')
    flow_id: str = data["flows"]["nodes"][0]["id"]
    return flow_id


async def run_shell(server: Server, script: str, folder: Path) -> list[Any]:
    """Runs a script in a folder as `scripts/serve` leaves it, and returns the JSON of its output lines."""
    key_file = folder / ".flowruns" / "admin.key"
    key_file.parent.mkdir()
    key_file.write_text(server.admin_key)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        script.replace("http://127.0.0.1:8000", server.url),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, err) == (0, b"")
    return [json.loads(line) if line.startswith("{") else line for line in out.decode().splitlines()]


async def test_readme_examples_run_in_shell(server: Server, tmp_path: Path) -> None:
    (readme,) = [parameter.values[0] for parameter in pages_with("sh") if parameter.id == "README"]
    results = [line["data"] for line in await run_shell(server, "\n".join(readme), tmp_path)]
    greeted, failed, retried, both = results
    assert greeted["startRun"]["run"] == {"status": "SUCCEEDED", "output": "Hello, Ada!"}
    assert failed["flowRun"]["status"] == "FAILED"
    assert retried["retry"]["run"]["id"].startswith("run_")
    assert both["flowRuns"]["totalCount"] == 2


async def test_documented_webhook_starts_run(server: Server, tmp_path: Path) -> None:
    (script,) = [parameter.values[0] for parameter in pages_with("sh") if parameter.id == "triggers"]
    text = """mutation { createWebhook(flowId: "%s", name: "docs") { ... on CreateWebhookSuccess { token } } }"""
    token = (await execute(server, text % await hello_flow(server)))["createWebhook"]["token"]
    (result,) = await run_shell(server, script[0].replace("frh_…", token), tmp_path)
    assert result["status"] == "SUCCEEDED"


async def test_documented_health_check_succeeds(server: Server, tmp_path: Path) -> None:
    (script,) = [parameter.values[0] for parameter in pages_with("sh") if parameter.id == "running"]
    assert await run_shell(server, script[0], tmp_path) == ["ok", "ready"]


def test_every_shell_example_is_executed() -> None:
    assert {parameter.id for parameter in pages_with("sh")} == {"README", "triggers", "running"}


@pytest.mark.parametrize("examples", pages_with("graphql"))
async def test_graphql_examples_are_executed(server: Server, examples: list[str]) -> None:
    known = {"flow": await hello_flow(server)}
    for example in examples:
        text = re.sub(r"\b(flow|run|bulk)_…", lambda match: known[match[1]], example)
        data = await execute(server, text)
        for found in _ID.finditer(json.dumps(data)):
            known.setdefault(found[1], found[0])


@pytest.mark.parametrize(("page", "text"), blocks("json"))
def test_flow_definitions_are_valid(page: Path, text: str) -> None:
    assert check(json.loads(text)).step_count > 0


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_action_can_be_loaded_and_called(
    page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Context:
        def __init__(self) -> None:
            self.messages: list[str] = []

        def log(self, message: str) -> None:
            self.messages.append(message)

    (tmp_path / "documented_actions.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    context = Context()
    price = actions.load(["documented_actions"])["shop.price"].function
    assert price([{"price": 2}, {"price": 3}], context) == 5
    assert context.messages == ["2 lines"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_scripts_exist(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [name for name in re.findall(r"\bscripts/[a-z-]+", text) if not (ROOT / name).exists()] == []


def test_state_diagram_matches_transitions() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"^ +([A-Z_]+) --> ([A-Z_]+)$", text, re.MULTILINE))
    assert drawn == {(source, target) for source, targets in TRANSITIONS.items() for target in targets}


async def test_live_list_shows_all_runs_after_lost_connection(app_server: AppServer) -> None:
    ((_, script),) = [parameter.values for parameter in blocks("js")]
    app, proxy = app_server.app, Proxy(app_server.url)
    asking_flow = await app.create_flow(
        {"steps": [{"name": "ask", "kind": "humanInput", "input": {"title": "Go on?"}}]}
    )
    quick_flow = await app.create_flow({"steps": [{"name": "only", "kind": "transform", "input": 1}]}, "quick")
    first = await _paused(app_server, asking_flow)
    async with (
        proxy.listening() as url,
        running(script, f"{url.replace('http', 'ws')}/graphql", app.keys.viewer) as process,
    ):

        async def list_shows(expected: set[str]) -> None:
            """Waits until these runs are listed, all of them PAUSED."""
            assert process.stdout is not None
            while True:
                line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
                assert line, "the list ended"
                listed = json.loads(line)
                if {run["id"] for run in listed} == expected and all(run["status"] == "PAUSED" for run in listed):
                    return

        await list_shows({first})
        second = await _paused(app_server, asking_flow)
        await list_shows({first, second})
        proxy.reset()
        await app.wait_until_final((await app.start(quick_flow))["run"]["id"])
        third = await _paused(app_server, asking_flow)
        await app.query("mutation($id: ID!) { cancel(runId: $id) { __typename } }", {"id": first})
        await list_shows({second, third})


async def _paused(app_server: AppServer, flow_id: str) -> str:
    """Starts a run and waits until it is PAUSED."""
    app = app_server.app
    run_id: str = (await app.start(flow_id))["run"]["id"]
    key = ids.decode(IdKind.RUN, run_id)
    with app.database.pubsub.subscribe(pubsub.run_changed(key)) as changed:
        while (await app.database.read(run_reads.by_ids, [key], {"status"}))[key].status != "PAUSED":
            await asyncio.wait_for(changed.wait(), PATIENCE)
            changed.clear()
    return run_id
