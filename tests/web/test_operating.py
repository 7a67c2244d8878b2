"""The pages for operators in a real browser, on both databases: workers, holds, endpoints, alerts, keys, audit log."""

import asyncio
import http.server
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.query import query
from tests.web.console import NARROW, WIDE, Service, assert_accessible, page_of, sign_in


class Receiver(http.server.BaseHTTPRequestHandler):
    """A system that gets events, and answers as a test says."""

    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        """Answers."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    """The URL of a system that gets events."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/events"
        server.shutdown()
        thread.join()


def operate(page: Page, service: Service, tab: str) -> None:
    page.goto(f"{service.url}/operate")
    page.get_by_role("tab", name=tab).click()


def row(page: Page, table: str, name: str) -> Any:
    return page.get_by_role("region", name=table, exact=True).get_by_role("row").filter(has_text=name)


def confirm(page: Page, title: str, action: str, consequence: str) -> None:
    """Reads what a dialog says that would happen, and does it."""
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog.get_by_role("list", name="What happens")).to_contain_text(consequence)
    dialog.get_by_role("button", name=action, exact=True).click()
    expect(dialog).to_have_count(0)


def test_workers_queues_and_what_waits_are_shown(page: Page, service: Service) -> None:
    flow = service.flows["hello"]
    service.ask('mutation ($id: ID!) { holdFlow(flowId: $id, reason: "a test") { __typename } }', id=flow)
    held = service.run("hello", wait=False)
    page.goto(f"{service.url}/operate")
    workers = page.get_by_role("region", name="Workers", exact=True)
    expect(workers.get_by_role("row").nth(1)).to_contain_text("Active")
    expect(workers).to_contain_text("1 worker")
    expect(workers.get_by_role("button", name="Copy ID")).to_have_count(1)
    waiting = page.get_by_role("region", name="Runs that wait")
    expect(waiting).to_contain_text("the release of the hold of hello")
    expect(waiting.get_by_role("link", name="hello").first).to_have_attribute("href", f"/runs/{held}")
    page.get_by_label("Group queues by").select_option("By priority")
    expect(page).to_have_url(re.compile("by=PRIORITY"))
    expect(page.get_by_role("region", name="Queues")).to_contain_text("counting stops at 100,000 runs")
    service.ask("mutation ($id: ID!) { releaseFlow(flowId: $id) { __typename } }", id=flow)
    # Nothing tells of it: the page reads the queue every few seconds.
    expect(waiting).not_to_contain_text("the release of the hold of hello")


def test_starts_are_held_and_released(page: Page, service: Service) -> None:
    operate(page, service, "Holds")
    held = page.get_by_role("region", name="Flows that are held")
    held.get_by_role("combobox", name="Flow to hold").fill("hello")
    page.get_by_role("option", name="hello").click()
    held.get_by_role("button", name="Hold the flow").click()
    page.get_by_role("dialog").get_by_label("Why").fill("The provider is down")
    confirm(page, "Hold the flow?", "Hold", "0 runs are queued now, and wait, too.")
    expect(row(page, "Flows that are held", "hello")).to_contain_text("The provider is down")
    run_id = service.run("hello", wait=False)
    row(page, "Flows that are held", "hello").get_by_role("button", name="Release hello").click()
    confirm(page, "Release hello?", "Release", "1 run waits for the release, and starts")
    expect(held).to_contain_text("No flow is held")
    page.goto(f"{service.url}/runs/{run_id}")
    expect(page.get_by_role("region", name="Status history").get_by_text("Succeeded", exact=True)).to_be_visible()

    operate(page, service, "Holds")
    row(page, "Projects", "default").get_by_role("button", name="Hold default").click()
    confirm(page, "Hold default?", "Hold", "New runs are created as always")
    row(page, "Projects", "default").get_by_role("button", name="Release default").click()
    confirm(page, "Release default?", "Release", "for the release")
    expect(row(page, "Projects", "default").get_by_role("button", name="Hold default")).to_be_visible()


def test_endpoint_is_created_tested_and_its_deliveries_repeated(page: Page, service: Service, receiver: str) -> None:
    Receiver.status = 200
    operate(page, service, "Endpoints")
    form = page.get_by_role("form", name="New endpoint")
    form.get_by_label("Name of the endpoint").fill("Shop")
    form.get_by_label("URL").fill("ftp://shop.example")
    form.get_by_role("button", name="Create the endpoint").click()
    expect(form.get_by_role("alert")).to_contain_text("url:")
    form.get_by_label("URL").fill(receiver)
    form.get_by_role("button", name="Create the endpoint").click()
    expect(page.get_by_role("status", name=re.compile("^Secret"))).to_contain_text("whsec_")
    shop = row(page, "Endpoints", "Shop")
    shop.get_by_role("button", name="Test Shop").click()
    expect(shop).to_contain_text("Delivered, 200", timeout=30_000)

    Receiver.status = 410
    service.run("hello")
    expect(shop).to_contain_text("Disabled: gone", timeout=30_000)
    shop.get_by_role("link", name="All deliveries").click()
    deliveries = page.get_by_role("region", name="Deliveries", exact=True)
    expect(deliveries).to_contain_text("2 deliveries")
    page.get_by_label("Status", exact=True).select_option("Pending")
    expect(deliveries).to_contain_text("1 delivery")
    deliveries.get_by_text("1 attempt").click()
    expect(deliveries.get_by_role("listitem")).to_contain_text("410")

    # What waited is sent once the endpoint is enabled; then it can be sent again.
    Receiver.status = 200
    page.get_by_role("tab", name="Endpoints").click()
    shop.get_by_role("button", name="Enable Shop").click()
    expect(shop).to_contain_text("Enabled")
    shop.get_by_role("link", name="All deliveries").click()
    sent = deliveries.get_by_role("row").filter(has_text="Run ended")
    expect(sent).to_contain_text("2 attempts", timeout=30_000)
    sent.get_by_role("button", name=re.compile("^Redeliver")).click()
    expect(sent).to_contain_text("3 attempts", timeout=30_000)
    page.get_by_role("tab", name="Endpoints").click()
    shop.get_by_role("button", name="Redeliver Shop").click()
    confirm(page, "Send the failed deliveries again to Shop?", "Redeliver", "0 deliveries are failed")
    shop.get_by_role("button", name="Rotate Shop").click()
    confirm(page, "Give a new secret to Shop?", "Rotate the secret", "two signatures")
    shop.get_by_role("button", name="Disable Shop").click()
    confirm(page, "Disable Shop?", "Disable", "Events from now on are not sent")
    expect(shop).to_contain_text("Disabled: requested")
    # A lost key hides the URL, and nothing else.
    lose = query(service.database_url, "UPDATE endpoint SET url_key_id = 'lost' WHERE name = 'Shop'")
    with ThreadPoolExecutor() as thread:  # the browser has a loop in this one
        thread.submit(asyncio.run, lose).result()
    page.reload()
    expect(shop).to_contain_text("a URL that cannot be read")
    shop.get_by_role("button", name="Delete Shop").click()
    confirm(page, "Delete Shop?", "Delete the endpoint", "are cancelled")
    expect(page.get_by_text("No system gets events")).to_be_visible()


def test_alert_is_created_tested_and_disabled(page: Page, service: Service) -> None:
    operate(page, service, "Alerts")
    form = page.get_by_role("form", name="New alert")
    form.get_by_label("Name of the alert").fill("Night")
    form.get_by_label("Target").fill("nonsense")
    form.get_by_label("Condition").select_option(value="LATE")
    form.get_by_role("textbox", name="Milliseconds").fill("60000")
    form.get_by_role("button", name="Create the alert").click()
    expect(form.get_by_role("alert")).to_contain_text("target:")
    form.get_by_label("Target").fill("mailto:ops@example.com")
    form.get_by_role("button", name="Create the alert").click()
    night = row(page, "Alerts", "Night")
    expect(night).to_contain_text("Late by 1 min")
    night.get_by_role("button", name="Test Night").click()
    # The service of the tests has no mail server, and the page says so.
    expect(night).to_contain_text("set FLOWRUNS_SMTP_URL", timeout=30_000)
    night.get_by_role("button", name="Disable Night").click()
    confirm(page, "Disable Night?", "Disable the alert", "until it is enabled")
    expect(night).to_contain_text("Disabled")
    night.get_by_role("button", name="Delete Night").click()
    confirm(page, "Delete Night?", "Delete the alert", "Its log of 1 message is deleted")
    expect(page.get_by_text("Nobody is told of failures")).to_be_visible()


def test_endpoint_and_alert_get_the_filter_of_the_list(page: Page, service: Service) -> None:
    for tab, noun in (("Endpoints", "endpoint"), ("Alerts", "alert")):
        operate(page, service, tab)
        form = page.get_by_role("form", name=f"New {noun}")
        form.get_by_label(f"Name of the {noun}").fill("Filtered")
        target = ("URL", "https://shop.example/events") if noun == "endpoint" else ("Target", "mailto:a@example.com")
        form.get_by_label(target[0]).fill(target[1])
        runs = form.get_by_role("group", name="Which runs")
        runs.get_by_role("combobox", name="Flows").fill("hel")
        page.get_by_role("option", name="hello", exact=True).click()
        runs.get_by_role("combobox", name="Statuses").click()
        page.get_by_role("option", name="Failed", exact=True).click()
        runs.get_by_role("button", name="More filters").click()
        panel = page.get_by_role("dialog", name="More filters")
        for field, value in (("Environment", "Production"), ("Trigger", "Schedule")):
            # The kit lays the field around what is to be clicked over it.
            panel.get_by_role("combobox", name=field).click(force=True)
            panel.get_by_role("option", name=value).click()
        panel.get_by_role("combobox", name="All of these tags").fill("night")
        page.keyboard.press("Enter")
        expect(runs.get_by_role("group", name="Filters")).to_contain_text("Tag night")
        page.keyboard.press("Escape")
        form.get_by_role("button", name=f"Create the {noun}").click()
        expect(row(page, tab, "Filtered")).to_contain_text("night")
        (made,) = service.ask(f"{{ it: {noun}s {{ nodes {{ id name filter }} }} }}")["it"]["nodes"]
        assert made["filter"] == {
            "flowIds": [service.flows["hello"]],
            "statuses": ["FAILED"],
            "environments": ["PRODUCTION"],
            "triggerMethods": ["SCHEDULE"],
            "tags": ["night"],
        }
        # The next one begins without a filter.
        expect(runs.get_by_role("group", name="Filters")).to_have_count(0)
        delete = f"mutation ($id: ID!) {{ delete{noun.capitalize()}(id: $id) {{ __typename }} }}"
        service.ask(delete, id=made["id"])


def test_keys_are_created_rotated_and_revoked_and_that_is_audited(page: Page, service: Service) -> None:
    operate(page, service, "API keys")
    form = page.get_by_role("form", name="New API key")
    form.get_by_label("Name of the key").fill("deploy")
    form.get_by_label("Role").select_option("Operator")
    form.get_by_role("button", name="Create the key").click()
    expect(page.get_by_role("status", name="The new key")).to_contain_text("fr_")
    deploy = row(page, "API keys", "deploy")
    old = deploy.locator("code").last.text_content() or ""
    deploy.get_by_role("button", name="Rotate deploy").click()
    page.get_by_role("dialog").get_by_label("The old key ends").select_option("at once")
    confirm(page, "Replace deploy?", "Rotate the key", "the same name, role and project")
    expect(deploy).not_to_contain_text(old)
    expect(deploy).to_have_count(1)
    deploy.get_by_role("button", name="Revoke deploy").click()
    confirm(page, "Revoke deploy?", "Revoke the key", "It was never used.")
    expect(deploy).to_have_count(0)
    page.get_by_label("Which keys").select_option("Revoked and expired keys")
    expect(deploy).to_have_count(2)

    page.get_by_role("tab", name="Audit log").click()
    page.get_by_role("combobox", name="Action").fill("Revoke API key")
    page.get_by_role("option", name="Revoke API key").click()
    log = page.get_by_role("region", name="Audit log")
    expect(log.get_by_role("row").nth(1)).to_contain_text("Revoke API key")
    expect(page).to_have_url(re.compile("action=REVOKE_API_KEY"))
    expect(log).to_contain_text("event")
    address = log.get_by_role("link", name="Open as query").get_attribute("href") or ""
    assert "REVOKE_API_KEY" in address


def test_operator_holds_starts_and_sees_no_tab_that_refuses(browser: Browser, service: Service) -> None:
    with browser.new_context(viewport=WIDE) as context:
        sign_in(context, service.url, service.create_key("OPERATOR"))
        with page_of(context, service.url) as page:
            # The address of a page for admins leads to the first one that the role sees.
            page.goto(f"{service.url}/operate?tab=keys")
            expect(page.get_by_role("region", name="Workers", exact=True)).to_contain_text("not shown")
            expect(page.get_by_role("tab")).to_have_text(["Workers and queues", "Holds"])
            page.get_by_role("tab", name="Holds").click()
            expect(page.get_by_role("button", name="Hold default")).to_have_count(1)


@contextmanager
def endpoint_and_alert(service: Service, receiver: str) -> Iterator[None]:
    """An endpoint and an alert, which are deleted at the end: other tests use the same service."""
    text = """mutation ($url: String!) {
        createEndpoint(input: {name: "Seen", url: $url}) { ... on CreateEndpointSuccess { endpoint { id } } }
        createAlert(input: {name: "Seen", target: "mailto:a@example.com"}) {
            ... on CreateAlertSuccess { alert { id } } } }"""
    made = service.ask(text, url=receiver)
    endpoint_id, alert_id = made["createEndpoint"]["endpoint"]["id"], made["createAlert"]["alert"]["id"]
    try:
        yield
    finally:
        service.ask("mutation ($id: ID!) { deleteEndpoint(id: $id) { __typename } }", id=endpoint_id)
        service.ask("mutation ($id: ID!) { deleteAlert(id: $id) { __typename } }", id=alert_id)


def test_pages_are_accessible_and_fit_a_narrow_screen(context: BrowserContext, service: Service, receiver: str) -> None:
    # What a page looks like does not depend on the database, so each shows half of the looks.
    on_sqlite = service.database_url.startswith("sqlite")
    size, scheme = (WIDE, "light") if on_sqlite else (NARROW, "dark")
    tabs = {
        "workers": "Workers",
        "holds": "Projects",
        "endpoints": "Endpoints",
        "deliveries": "Deliveries",
        "alerts": "Alerts",
        "keys": "API keys",
        "audit": "Audit log",
    }
    with endpoint_and_alert(service, receiver), page_of(context, service.url) as page:
        service.run("hello")
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        for tab, region in tabs.items():
            page.goto(f"{service.url}/operate?tab={tab}")
            expect(page.get_by_role("region", name=region, exact=True).get_by_role("row").nth(1)).to_be_visible()
            assert_accessible(page, tab)
