"""Tests of the command line."""

import asyncio
import json
import os
import re
import signal
import tomllib
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from db.migrate import upgrade
from schema.build import SDL_FILE
from service import VERSION, cli
from tests.support.app import PATIENCE
from tests.support.processes.commands import run_service, run_worker, start

FIXED = "a-key-fixed-by-the-operator"
GOOD = {"steps": [{"name": "a", "kind": "transform", "input": 1}]}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that works in an empty folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNS_")}
    url = f"sqlite+aiosqlite:///{tmp_path / 'data' / 'flowruns.db'}"
    return {**kept, "FLOWRUNS_DATABASE_URL": url, "FLOWRUNS_PORT": "0", "PYTHONUNBUFFERED": "1"}


def invoke(environment: Mapping[str, str], *arguments: str) -> Result:
    """Returns the output of a command; it runs in this process, because a new one takes seconds to start."""
    return CliRunner(env=environment).invoke(cli.main, arguments)


def succeed(environment: Mapping[str, str], *arguments: str) -> str:
    result = invoke(environment, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def fail(environment: Mapping[str, str], *arguments: str) -> str:
    """Returns the one line of a failed command's error message."""
    result = invoke(environment, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


async def ask(url: str, key: str, text: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.post(f"{url}/graphql", json={"query": text}, headers={"authorization": f"Bearer {key}"})


async def test_schema_command_prints_exported_schema(environment: dict[str, str]) -> None:
    process = await start(environment, "schema")
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert out.decode() == SDL_FILE.read_text()


async def test_service_starts_in_empty_folder_and_keeps_data_across_restart(
    environment: dict[str, str], tmp_path: Path
) -> None:
    key_file = tmp_path / "data" / "admin.key"
    flows = "{ flows { nodes { id name publishedVersion { id } } } }"
    async with run_service(environment, "serve") as (url, said):
        key = key_file.read_text().strip()
        assert f"$(cat {key_file})" in said
        assert key not in said
        token = re.search(r"/sign-in\?token=(\S+)", said)
        assert token is not None
        first = await ask(url, key, flows)
        assert {flow["name"] for flow in first.json()["data"]["flows"]["nodes"]} == {"hello", "flaky-checkout"}
        assert await end_of_a_run(url, key) == "SUCCEEDED"
    before = key_file.stat()
    async with run_service(environment, "serve", stopped_by=signal.SIGINT) as (url, said):
        assert (await ask(url, key, flows)).json() == first.json()
        assert f"token={token[1]}" not in said
    assert (key_file.stat().st_mtime_ns, key_file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


async def test_api_and_worker_share_one_database(environment: dict[str, str]) -> None:
    environment = {**environment, "FLOWRUNS_BOOTSTRAP_KEY": FIXED, "FLOWRUNS_HOST": "0.0.0.0"}
    await asyncio.to_thread(upgrade, environment["FLOWRUNS_DATABASE_URL"])
    async with run_worker(environment), run_service(environment, "api") as (url, said):
        # Neither an address to which no browser goes, nor the key in a log.
        assert url.startswith("http://127.0.0.1:")
        assert FIXED not in said
        assert "Bearer $FLOWRUNS_BOOTSTRAP_KEY" in said
        assert await end_of_a_run(url, FIXED) == "SUCCEEDED"


async def test_log_of_the_service_is_json_alone(environment: dict[str, str]) -> None:
    """With FLOWRUNS_LOG_FORMAT=json, every line on standard error is an event in JSON, uvicorn's lines included."""
    process = await start({**environment, "FLOWRUNS_LOG_FORMAT": "json"}, "serve")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while b"curl" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        _, log = await process.communicate()
    events = [json.loads(line) for line in log.decode().splitlines()]
    assert any("Uvicorn running on" in event["message"] for event in events)


async def end_of_a_run(url: str, key: str) -> str:
    """Returns the final status of a new run of the flow `hello`."""
    flows = await ask(url, key, '{ flows(filter: {nameContains: "hello"}) { nodes { id } } }')
    flow = flows.json()["data"]["flows"]["nodes"][0]["id"]
    start = f'startRun(input: {{flowId: "{flow}", waitMs: 30000}})'
    answer = await ask(url, key, f"mutation {{ {start} {{ ... on StartRunSuccess {{ run {{ status }} }} }} }}")
    status: str = answer.json()["data"]["startRun"]["run"]["status"]
    return status


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_invalid_settings_are_reported_in_one_line(environment: dict[str, str]) -> None:
    said = fail({**environment, "FLOWRUNS_PORT": "x", "FLOWRUNS_BOOTSTRAP_KEY": "s3cret"}, "migrate")
    assert "FLOWRUNS_PORT: " in said
    assert "FLOWRUNS_BOOTSTRAP_KEY: " in said
    assert "s3cret" not in said


def test_migrate_creates_database_and_can_be_repeated(environment: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        succeed(environment, "migrate")
    assert (tmp_path / "data" / "flowruns.db").exists()


def test_keys_are_created_listed_and_revoked(environment: dict[str, str]) -> None:
    viewer = succeed(environment, "key", "create", "--name", "dashboard")
    operator = succeed(environment, "key", "create", "--name", "ops", "--role", "ADMIN", "--operator")
    assert viewer.startswith("fr_")
    listed = succeed(environment, "key", "list")
    line_by_name = {line.split()[-1]: line for line in listed.splitlines()}
    assert "VIEWER" in line_by_name["dashboard"]
    assert "default" in line_by_name["dashboard"]
    assert "all projects" in line_by_name["ops"]
    assert "valid" in line_by_name["ops"]
    assert viewer not in listed
    assert operator not in listed

    key_id = line_by_name["dashboard"].split()[0]
    assert key_id.startswith("key_")
    succeed(environment, "key", "revoke", key_id)
    assert "revoked" in succeed(environment, "key", "list")
    assert fail(environment, "key", "revoke", key_id) == "Error: No active key with this ID.\n"
    assert "got that of a run" in fail(environment, "key", "revoke", "run_" + "0" * 32)


def test_project_of_key_is_created_once(environment: dict[str, str]) -> None:
    for name in ("one", "two"):
        succeed(environment, "key", "create", "--name", name, "--project", "shop")
    assert succeed(environment, "key", "list").count(" shop ") == 2


def test_flows_are_published_from_files(environment: dict[str, str], tmp_path: Path) -> None:
    good, bad, broken = tmp_path / "billing.json", tmp_path / "bad.json", tmp_path / "broken.json"
    good.write_text(json.dumps(GOOD))
    bad.write_text(json.dumps({"steps": [{"name": "a", "kind": "transform", "input": "{{ nope("}]}))
    broken.write_text("{")
    assert fail(environment, "flow", "publish", str(good)) == "Error: No project named 'default'.\n"

    succeed(environment, "key", "create", "--name", "first")
    flow = succeed(environment, "flow", "publish", str(good))
    assert flow.startswith("flow_")
    assert succeed(environment, "flow", "publish", str(good)) == flow
    assert succeed(environment, "flow", "publish", str(good), "--name", "other") != flow

    assert "steps[0].input: " in fail(environment, "flow", "publish", str(bad))
    assert "Expecting" in fail(environment, "flow", "publish", str(broken))
