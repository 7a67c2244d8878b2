"""The console in a real browser, on both databases: one service for each of them, and one browser."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect, sync_playwright

from tests.support.app import PATIENCE
from tests.support.databases.database_templates import Template
from tests.support.databases.postgres import free_port
from tests.support.processes.commands import service_command
from tests.support.processes.path_proxy import below_path
from tests.web.test_graphiql import BROWSER_ARGS, ROOT, find_browser

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 360, "height": 740}
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

    def create_key(self, role: str) -> str:
        """Returns a new API key of the default project."""
        created = self.ask(
            'mutation ($role: Role!) { createApiKey(name: "of a test", role: $role)'
            " { ... on CreateApiKeySuccess { secret } } }",
            role=role,
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
        """Creates a flow with one published version."""
        created = self.ask(
            "mutation ($n: String!, $d: JSON) { createFlow(name: $n, definition: $d) { __typename } }",
            n=name,
            d=definition,
        )
        assert created["createFlow"]["__typename"] == "CreateFlowSuccess"

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


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    template: Template = request.getfixturevalue(f"{request.param}_template")
    folder = tmp_path_factory.mktemp("console")
    with template.clone(folder) as url:
        running = Service(url, folder)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGS) as launched,
    ):
        yield launched


@pytest.fixture(scope="module")
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    """A browser that is signed in at the service. What it loaded for one test it need not load for the next."""
    with browser.new_context(viewport=WIDE) as opened:  # type: ignore[arg-type]
        sign_in(opened, service.url, service.key)
        yield opened


@pytest.fixture
def page(context: BrowserContext, service: Service) -> Iterator[Page]:
    with page_of(context, service.url) as opened:
        yield opened


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


def rows(page: Page) -> Any:
    return page.get_by_role("table", name="Runs").get_by_role("row")


def live(page: Page, word: str = "Live") -> None:
    expect(page.get_by_role("status").filter(has_text=word).first).to_be_visible()


def test_failures_of_one_customer_are_found_and_the_address_holds_the_filter(page: Page, service: Service) -> None:
    found = service.run("flaky-checkout", metadata={"customer": {"id": "acme"}}, tags=["found"])
    service.run("flaky-checkout", metadata={"customer": {"id": "globex"}})
    service.run("hello", metadata={"customer": {"id": "acme"}})
    page.goto(service.url)
    page.get_by_role("group", name="Statuses").get_by_role("button", name="Failed").click()
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Metadata path").fill("customer.id")
    page.get_by_label("Metadata value").fill("acme")
    page.get_by_role("button", name="Add", exact=True).click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="flaky-checkout")).to_have_count(1)
    expect(page.get_by_role("heading", name="1 run", exact=True)).to_be_visible()

    page.goto(page.url)
    expect(page.get_by_role("link", name="flaky-checkout")).to_have_count(1)
    address = page.get_by_role("link", name="Open as query").last.get_attribute("href") or ""
    assert "customer.id" in address

    page.keyboard.press("/")
    expect(page.get_by_label("Error text or run ID")).to_be_focused()
    page.keyboard.insert_text(found)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(found))


def test_list_follows_runs_and_shows_why_a_row_leaves(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/?statuses=PAUSED&tags=leaver")
    live(page)
    expect(page.get_by_text("No run matches these filters")).to_be_visible()
    run_id = service.pause("A-1", tags=["leaver"])
    expect(page.get_by_role("link", name="refund")).to_have_count(1)
    expect(page.get_by_role("button", name="1 Paused")).to_be_visible()

    service.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=run_id)
    expect(page.get_by_text("now stopped")).to_be_visible()
    expect(page.get_by_role("link", name="refund")).to_have_count(0)


def test_run_is_understood_and_retried_by_keyboard(page: Page, service: Service) -> None:
    service.run("flaky-checkout", tags=["keyboard"])
    page.goto(f"{service.url}/?tags=keyboard")
    page.get_by_role("link", name="flaky-checkout").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Step charge").get_by_text("PROVIDER_DOWN")).to_be_visible()
    expect(page.get_by_role("region", name="Log").get_by_text("Attempt 2 failed")).to_be_visible()
    page.get_by_role("button", name=re.compile("Read the cart")).press("Enter")
    expect(page.get_by_label("Output", exact=True)).to_contain_text("Tea")

    page.get_by_role("button", name="Retry", exact=True).press("Enter")
    choice = page.get_by_role("menuitem", name=re.compile("^From the failed step(?!,)"))
    expect(choice).to_contain_text("Keeps 2 steps")
    page.keyboard.press("ArrowDown")
    expect(choice).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Lineage").get_by_text("Retry of")).to_be_visible()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("Thank you!")


def test_question_is_answered_by_the_form_of_its_schema(page: Page, service: Service) -> None:
    run_id = service.pause("A-2")
    page.goto(f"{service.url}/runs/{run_id}")
    page.get_by_label("Comment").fill("fine")
    page.get_by_role("button", name="Respond").click()
    expect(page.get_by_role("region", name="Status history").get_by_text("Succeeded", exact=True)).to_be_visible()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("fine")


def test_many_runs_are_archived_after_a_dry_run_and_the_archive_is_undone(page: Page, service: Service) -> None:
    for _ in range(3):
        service.run("hello", tags=["many"])
    waiting = service.pause("A-3", tags=["many"])
    page.goto(f"{service.url}/?tags=many")
    page.get_by_label("Select all matching runs").click()
    selected = page.get_by_role("group", name="Selected runs")
    expect(selected).to_contain_text("4 selected")
    selected.get_by_role("button", name="Archive", exact=True).click()
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("3 eligible, 1 skipped")
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("run not final")
    page.get_by_role("button", name="Archive 3 runs").click()
    expect(page.get_by_text("3 archived")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 unarchived")).to_be_visible()
    service.ask("mutation ($id: ID!) { cancel(runId: $id) { __typename } }", id=waiting)


def test_flow_is_run_scheduled_called_and_published(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/flows")
    page.get_by_role("link", name="refund").click()
    page.get_by_role("tab", name="Schedules").click()
    page.get_by_label("Cron expression").fill("0 6 * * 1-5")
    page.get_by_label("Input as JSON").fill('{"order": "daily"}')
    page.get_by_role("button", name="Add a schedule").click()
    expect(page.get_by_role("cell", name=re.compile("At 06:00, Monday through Friday"))).to_be_visible()
    page.get_by_role("tab", name="Webhooks").click()
    page.get_by_label("Name of the webhook").fill("Shop")
    page.get_by_role("button", name="Add a webhook").click()
    webhooks = page.get_by_role("region", name="Webhooks")
    expect(webhooks.get_by_role("alert")).to_contain_text("accepts no request as its input")
    webhooks.get_by_label("Input as JSON").fill('{"order": "{{ request.body.order }}"}')
    page.get_by_role("button", name="Add a webhook").click()
    expect(page.get_by_text(f"curl -X POST {service.url}/hooks/")).to_be_visible()
    page.get_by_role("tab", name="Run now").click()
    page.get_by_label("Order").fill("A-4")
    page.get_by_role("button", name="Start a run").click()
    expect(page.get_by_role("region", name="Approve the refund?")).to_be_visible()

    page.goto(f"{service.url}/flows/{service.flows['hello']}")
    expect(page.get_by_role("region", name="Definition")).to_contain_text("greet")
    page.get_by_role("textbox", name="Definition as JSON").focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text(json.dumps({"steps": [{"name": "greet", "kind": "nope", "input": 1}]}))
    # What the editor closed by itself.
    page.keyboard.press("ControlOrMeta+Shift+End")
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Publish", exact=True).click()
    refused = page.get_by_role("alert", name="The definition was not published")
    expect(refused).to_contain_text("steps[0]")


def test_console_works_below_a_path(context: BrowserContext, service: Service) -> None:
    run_id = service.run("hello", tags=["below"])
    with below_path(service.url, "/tools/flowruns") as url, page_of(context, url) as page:
        sign_in(context, url, service.key)
        page.goto(f"{url}/?tags=below")
        live(page)
        page.get_by_role("link", name="hello").click()
        expect(page).to_have_url(f"{url}/runs/{run_id}")
        expect(page.get_by_role("link", name="As text")).to_have_attribute("href", f"/tools/flowruns/runs/{run_id}/log")
        page.goto(page.url)
        expect(page.get_by_role("heading", name="hello")).to_be_visible()
        page.goto(f"{url}/graphql")
        expect(page.get_by_role("region", name="Operation Editor")).to_contain_text("publishedVersion")
        page.get_by_role("button", name=re.compile("^Execute query")).click()
        expect(page.get_by_role("region", name="Result Window")).to_contain_text("flaky-checkout")


def test_failures_lead_to_their_runs(page: Page, service: Service) -> None:
    service.run("flaky-checkout")
    page.goto(f"{service.url}/failures")
    page.get_by_role("link", name="Unrecovered").first.click()
    expect(page.get_by_role("link", name="flaky-checkout").first).to_be_visible()
    assert "errorFingerprint" in page.url


def test_viewer_sees_no_button_that_refuses(browser: Browser, service: Service) -> None:
    run_id = service.run("flaky-checkout", tags=["viewed"])
    with browser.new_context(viewport=WIDE) as context:  # type: ignore[arg-type]
        page = context.new_page()
        sign_in(context, service.url, service.create_key("VIEWER"))
        page.goto(f"{service.url}/runs/{run_id}")
        expect(page.get_by_role("heading", name="flaky-checkout")).to_be_visible()
        for name in ("Retry", "Archive", "Cancel"):
            expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_restart_of_the_service_is_shown_and_no_event_is_missed(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/?tags=survivor")
    live(page)
    service.run("hello", tags=["survivor"])
    expect(page.get_by_role("link", name="hello")).to_have_count(1)
    service.stop()
    live(page, "Disconnected")
    service.start()
    service.run("hello", tags=["survivor"])
    expect(page.get_by_role("link", name="hello")).to_have_count(2)
    live(page)


def test_events_are_streamed_where_sockets_do_not_get_through(page: Page, service: Service) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011, reason="no sockets here")

    page.route_web_socket(re.compile("/graphql$"), refuse)
    page.goto(f"{service.url}/?tags=streamed")
    expect(page.get_by_title(re.compile("over event streams"))).to_be_visible()
    service.run("hello", tags=["streamed"])
    expect(page.get_by_role("link", name="hello")).to_have_count(1)


def test_pages_are_accessible_and_fit_a_narrow_screen(page: Page, service: Service) -> None:
    failed = service.run("flaky-checkout", tags=["checked"])
    paused = service.pause("A-5")
    axe = AXE.read_text()
    pages = {
        "/": "Runs",
        f"/runs/{failed}": "flaky-checkout",
        f"/runs/{paused}": "refund",
        "/failures": "Failures",
        "/flows": "Flows",
        f"/flows/{service.flows['refund']}?tab=schedules": "refund",
        f"/flows/{service.flows['refund']}?tab=run": "refund",
        "/bulk": "Bulk operations",
    }
    # What a page looks like does not depend on the database, so each shows half of the looks.
    on_sqlite = service.database_url.startswith("sqlite")
    looks = [(WIDE, "light" if on_sqlite else "dark"), (NARROW, "dark" if on_sqlite else "light")]
    for path, heading in pages.items():
        page.goto(f"{service.url}{path}")
        page.evaluate(axe)
        for size, scheme in looks:
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_attached()
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, (path, overflow)
            violations = page.evaluate("axe.run().then((found) => found.violations)")
            said = [(it["id"], [node["html"][:160] for node in it["nodes"]][:3]) for it in violations]
            assert said == [], (path, size)
