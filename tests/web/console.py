"""The console's service and pages, as its tests and pictures use them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from engine.secrets.key_ring import new_key
from tests.support.app import PATIENCE
from tests.support.databases.postgres import free_port
from tests.support.processes.commands import service_command
from tests.web.browsers import ROOT

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 740}
PATIENCE_MS = 20_000
START_S = 120
"""Seconds that a process may take to answer on a machine that is busy with other tests."""
REFUND = {
    "inputSchema": {
        "type": "object",
        "required": ["order"],
        "properties": {"order": {"type": "string", "title": "Order"}},
    },
    "steps": [
        {
            "name": "approve",
            "kind": "humanInput",
            "input": {
                "title": "Approve the refund?",
                "schema": {"type": "object", "properties": {"comment": {"type": "string", "title": "Comment"}}},
            },
        },
        {"name": "pay", "kind": "transform", "input": "{{ steps.approve.output }}"},
    ],
}
START = """
mutation ($input: StartRunInput!) { startRun(input: $input) { ... on StartRunSuccess { run { id } } } }
"""


class Service:
    """`python -m service serve` on one database and one port, which can be stopped and started again."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.database_url = database_url
        self._folder = folder
        self._port = free_port()
        self.key = "the key of the browser's tests"
        self._environment = {
            **os.environ,
            "FLOWRUNS_DATABASE_URL": database_url,
            "FLOWRUNS_PORT": str(self._port),
            "FLOWRUNS_BOOTSTRAP_KEY": self.key,
            "FLOWRUNS_SECRET_KEYS": new_key(),
            "FLOWRUNS_TOKEN_KEYS": "a key of the browser's tests that signs links",
            "FLOWRUNS_HTTP_ALLOW_PRIVATE": "true",
            "PYTHONUNBUFFERED": "1",
        }
        self._process: subprocess.Popen[str] | None = None
        self._http: httpx.Client
        self.url = f"http://127.0.0.1:{self._port}"
        self.flows: dict[str, str] = {}

    def start(self) -> None:
        """Starts the service, and returns when it answers."""
        self._http = httpx.Client(timeout=PATIENCE)
        with (self._folder / "service.log").open("a") as log:
            self._process = subprocess.Popen(
                service_command("serve"), cwd=ROOT, env=self._environment, stdout=log, stderr=log, text=True
            )
        until = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "service.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        if not self.flows:
            self.create_flow("refund", REFUND)
            nodes = self.ask("{ flows { nodes { id name } } }")["flows"]["nodes"]
            self.flows = {flow["name"]: flow["id"] for flow in nodes}

    def stop(self) -> None:
        """Ends the service as an operator ends it."""
        self._http.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._process = None

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    def create_key(self, role: str, *, payloads: bool = True) -> str:
        """Returns a new API key of the default project."""
        created = self.ask(
            'mutation ($role: Role!, $payloads: Boolean!) { createApiKey(name: "of a test", role: $role,'
            " payloads: $payloads) { ... on CreateApiKeySuccess { secret } } }",
            role=role,
            payloads=payloads,
        )
        secret: str = created["createApiKey"]["secret"]
        return secret

    def ask(self, query: str, **variables: Any) -> Any:
        """Returns the data of a query."""
        body = {"query": query, "variables": variables}
        headers = {"authorization": f"Bearer {self.key}"}
        answer = self._http.post(f"{self.url}/graphql", json=body, headers=headers).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def create_flow(self, name: str, definition: object) -> None:
        """Creates a flow with one published version, and adds it to `flows`."""
        created = self.ask(
            "mutation ($n: String!, $d: JSON) { createFlow(name: $n, definition: $d)"
            " { __typename ... on CreateFlowSuccess { flow { id } } } }",
            n=name,
            d=definition,
        )["createFlow"]
        assert created["__typename"] == "CreateFlowSuccess"
        self.flows[name] = created["flow"]["id"]

    def run(self, flow: str, wait: bool = True, **rest: Any) -> str:
        """Starts a run, waits for its end by default, and returns its ID."""
        values = {"flowId": self.flows[flow], "waitMs": 20_000 if wait else None, **rest}
        run_id: str = self.ask(START, input=values)["startRun"]["run"]["id"]
        return run_id

    def pause(self, order: str, **rest: Any) -> str:
        """Starts a run of `refund`, and returns its ID once it waits for its answer."""
        run_id = self.run("refund", wait=False, input={"order": order}, **rest)
        until = time.monotonic() + PATIENCE
        query = "query ($id: ID!) { flowRun(id: $id) { status } }"
        while self.ask(query, id=run_id)["flowRun"]["status"] != "PAUSED":
            assert time.monotonic() < until
            time.sleep(0.05)
        return run_id


@contextmanager
def page_of(context: BrowserContext, url: str) -> Iterator[Page]:
    """A page of a browser. Errors of its scripts, and its requests to other hosts than that of `url`, fail the test."""
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    with context.new_page() as opened:
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("request", lambda request: _note_stranger(request.url, url, faults))
        yield opened
        assert faults == []


def _note_stranger(url: str, origin: str, faults: list[str]) -> None:
    if not url.startswith((origin, origin.replace("http", "ws"), "blob:", "data:")):
        faults.append(url)


def sign_in(context: BrowserContext, url: str, key: str) -> None:
    response = context.request.post(f"{url}/sign-in", data={"key": key})
    assert response.status == 204


def live(page: Page, word: str = "Live") -> None:
    expect(page.get_by_role("status").filter(has_text=word).first).to_be_visible()


def assert_accessible(page: Page, what: str) -> None:
    """Fails if axe finds a violation, or if the page is wider than the screen. `what` names it in the message."""
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, (what, overflow)
    # The script comes over the debugger, so that no policy of the page stops it.
    page.evaluate(AXE.read_text())
    violations = page.evaluate("axe.run().then((found) => found.violations)")
    said = [(it["id"], [node["html"][:160] for node in it["nodes"]][:3]) for it in violations]
    assert said == [], (what, page.viewport_size, said)
