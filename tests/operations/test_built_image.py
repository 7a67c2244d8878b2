"""The image, run as docs/operations.md and compose.yaml run it: `FLOWRUNS_TEST_IMAGE=flow-runs scripts/test …`.

`scripts/build-image` builds it, which takes minutes and a builder, so the suite leaves these tests out.
"""

import asyncio
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from engine.secrets.key_ring import new_key
from tests.support.app import PATIENCE
from tests.support.databases.postgres import PostgresServer, free_port
from tests.support.processes.containers import LOCKED, Container, Engine, container_engine
from tests.support.query import query
from tests.support.receiver import receiving

IMAGE = os.environ.get("FLOWRUNS_TEST_IMAGE", "")
PREVIOUS_IMAGE = os.environ.get("FLOWRUNS_TEST_PREVIOUS_IMAGE", IMAGE)
"""The version from which a volume is kept."""
COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())
KEY = "fr_the_key_of_the_environment"
CREATE = """mutation ($name: String!, $definition: JSON) { it: createFlow(name: $name, definition: $definition) {
    ... on CreateFlowSuccess { flow { id } } ... on UserError { message } } }"""
START = """mutation ($input: StartRunInput!) { it: startRun(input: $input) {
    ... on StartRunSuccess { run { id status } } ... on UserError { message } } }"""

pytestmark = pytest.mark.skipif(not IMAGE, reason="FLOWRUNS_TEST_IMAGE names no image; scripts/build-image builds one")


@pytest.fixture
def engine() -> Iterator[Engine]:
    with container_engine() as started:
        yield started


async def ask(url: str, key: str, text: str, **variables: Any) -> Any:
    """Returns the `data` of a document."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE) as client:
        answer = (await client.post(f"{url}/graphql", json={"query": text, "variables": variables})).json()
    assert "errors" not in answer, answer
    return answer["data"]


async def wait_for_status(url: str, run_id: str, status: str) -> None:
    text = "query ($id: ID!) { flowRun(id: $id) { status } }"
    async with asyncio.timeout(PATIENCE):
        # The service is in another process, so there is no signal to wait for.
        while (await ask(url, KEY, text, id=run_id))["flowRun"]["status"] != status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def check_health(container: Container, port: int) -> None:
    """The health check of the image succeeds, and fails where nothing listens."""
    (kind, *command) = container.inspect()["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    checked = container.execute(*command)
    assert checked.returncode == 0, checked.stderr
    assert container.execute(*command, environment={"FLOWRUNS_PORT": str(port + 1)}).returncode == 1


async def test_serve_needs_neither_root_nor_a_writable_file_system_and_keeps_its_volume(engine: Engine) -> None:
    volume = f"flow-runs-{uuid4().hex}"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"FLOWRUNS_PORT": str(port)}
    first = engine.start(PREVIOUS_IMAGE, environment=environment, volume=volume)
    first.wait_until_ready(url)
    key = first.execute("cat", "/data/admin.key").stdout.strip()
    flows = (await ask(url, key, "{ flows { nodes { id name } } }"))["flows"]["nodes"]
    (hello,) = [flow["id"] for flow in flows if flow["name"] == "hello"]
    values = {"flowId": hello, "input": {"name": "image"}, "waitMs": 20_000}
    run = (await ask(url, key, START, input=values))["it"]["run"]
    assert run["status"] == "SUCCEEDED"
    assert first.stop(30) == 0, first.log()

    second = engine.start(IMAGE, environment=environment, volume=volume)
    second.wait_until_ready(url)
    text = "query ($id: ID!) { flowRun(id: $id) { status output } }"
    kept = (await ask(url, key, text, id=run["id"]))["flowRun"]
    assert kept == {"status": "SUCCEEDED", "output": {"greeting": "Hello, image!", "letters": 13}}
    assert second.execute("id", "--user").stdout == "10001\n"
    assert second.execute("touch", "/data/a").returncode == 0
    for path in ("/app/a", "/a", "/var/a"):
        assert second.execute("touch", path).returncode != 0
    assert second.execute("find", "/tmp", "-type", "f").stdout == ""
    assert second.execute("stat", "--format", "%U %a", "/data").stdout == "flowruns 700\n"
    check_health(second, port)
    async with httpx.AsyncClient(base_url=url) as client:
        page = await client.get("/")
        script = re.search(r'src="([^"]+\.js)"', page.text)
        assert script is not None
        assert (await client.get(httpx.URL(url).join(script[1]))).is_success
    assert second.stop(30) == 0, second.log()


def interpolate(value: Any, values: Mapping[str, str]) -> str:
    """Returns a value of compose.yaml with the variables of `.env`."""
    text = str(value)
    return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda found: values[found[1]], text)


class Deployment:
    """The services of compose.yaml. Their containers have the network of this machine."""

    def __init__(self, engine: Engine, database_address: str) -> None:
        self._engine = engine
        self._address = database_address
        self._volume = f"flow-runs-{uuid4().hex}"
        self._env = {
            "POSTGRES_PASSWORD": "0f" * 24,
            "FLOWRUNS_BOOTSTRAP_KEY": KEY,
            "FLOWRUNS_SECRET_KEYS": new_key(),
            "FLOWRUNS_TOKEN_KEYS": "ab" * 32,
        }

    @property
    def secrets(self) -> Collection[str]:
        """The values that no log may have."""
        return self._env.values()

    def start(self, name: str, **more: str) -> Container:
        """Starts the container of a service."""
        service = dict(COMPOSE["services"][name])
        values = {key: interpolate(value, self._env) for key, value in service.pop("environment").items()}
        values["FLOWRUNS_DATABASE_URL"] = values["FLOWRUNS_DATABASE_URL"].replace("@database/", f"@{self._address}/")
        assert service.pop("image") == "flow-runs"
        assert service.pop("volumes") == ["files:/data"]
        command = service.pop("command")
        options = ["--read-only"] if service.pop("read_only") else []
        options += [f"--cap-drop={name}" for name in service.pop("cap_drop")]
        options += [f"--security-opt={option}" for option in service.pop("security_opt")]
        options += [f"--tmpfs={path}" for path in service.pop("tmpfs")]
        if service.pop("healthcheck", None) == {"disable": True}:
            options.append("--no-healthcheck")
        # What is left is of the order in which they start, and of a network that these containers do not have.
        assert set(service) <= {"build", "depends_on", "ports", "restart", "stop_grace_period"}
        return self._engine.start(IMAGE, *command, environment=values | more, volume=self._volume, options=options)

    def stop(self, name: str, container: Container) -> None:
        """Stops the container of a service within its period of grace."""
        seconds = int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s"))
        assert container.stop(seconds) == 0, container.log()


async def test_services_of_compose_run_on_postgresql_and_a_worker_that_stops_ends_its_steps(
    engine: Engine, own_postgres: PostgresServer
) -> None:
    await query(own_postgres.url(), "COMMIT", "CREATE DATABASE flowruns")
    address = own_postgres.url().partition("@")[2].partition("/")[0]
    deployment = Deployment(engine, address)
    migrated = deployment.start("migrate")
    assert migrated.wait() == 0, migrated.log()

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = deployment.start("api", FLOWRUNS_PORT=str(port))
    worker = deployment.start("worker", FLOWRUNS_HTTP_ALLOW_PRIVATE="true")
    api.wait_until_ready(url)
    check_health(api, port)
    async with receiving() as receiver:
        call = {"name": "call", "kind": "http", "input": {"method": "GET", "url": f"{receiver.url}/ok"}}
        pause = {"name": "pause", "kind": "delay", "input": {"for": 1}}
        created = await ask(url, KEY, CREATE, name="calls", definition={"steps": [call, pause]})
        flow_id = created["it"]["flow"]["id"]
        receiver.may_answer.clear()
        run_id = (await ask(url, KEY, START, input={"flowId": flow_id}))["it"]["run"]["id"]
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        worker.terminate()
        receiver.may_answer.set()
        assert await asyncio.to_thread(worker.wait) == 0, worker.log()
        # The step ended with its answer, and is not executed again. The rest is for another worker.
        text = "query ($id: ID!) { flowRun(id: $id) { status steps { name status } } }"
        left = (await ask(url, KEY, text, id=run_id))["flowRun"]
        assert left["steps"][0] == {"name": "call", "status": "SUCCEEDED"}
        assert left["status"] != "SUCCEEDED"
        other = deployment.start("worker", FLOWRUNS_HTTP_ALLOW_PRIVATE="true")
        await wait_for_status(url, run_id, "SUCCEEDED")
        assert len(receiver.requests) == 1
    deployment.stop("worker", other)
    deployment.stop("api", api)
    logs = [container.log() for container in (migrated, api, worker, other)]
    assert not [log for log in logs if any(secret in log for secret in deployment.secrets)]


async def test_commands_that_need_no_database_run_in_a_container(engine: Engine) -> None:
    for command, expected in ((("secrets", "new-key"), r"\S{40,}"), (("schema",), r'"""[\s\S]+type Query')):
        container = engine.start(IMAGE, *command, environment={}, volume=f"flow-runs-{uuid4().hex}", options=LOCKED)
        assert container.wait() == 0, container.log()
        assert re.match(expected, container.log()), container.log()
