"""The page at /graphql in a real browser: signing in, running an example, signing out."""

import re
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from playwright.async_api import ConsoleMessage, Locator, Page, async_playwright, expect

from tests.support.app import PATIENCE
from tests.web.browsers import BROWSER_ARGS, find_browser

TABS = ["Flows", "StartARun", "LatestRuns", "OneRunInFull", "Retry"]


class Server(Protocol):
    url: str
    admin_key: str
    sign_in_url: str


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    expect.set_options(timeout=PATIENCE * 1_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGS)
        yield await browser.new_page(viewport={"width": 1400, "height": 1400})
        await browser.close()


class Watch:
    """Collects what a page must not do. A policy violation, in a worker too, is a console error."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.workers: list[str] = []
        self.errors: list[str] = []
        page.context.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("worker", lambda worker: self.workers.append(worker.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def requests_outside(self, origin: str) -> list[str]:
        own = (f"{origin}/", f"{origin.replace('http', 'ws', 1)}/")
        return [url for url in self.requests if not url.startswith(own)]


async def open_graphiql(page: Page, server: Server) -> None:
    """Signs in by the one-time URL, which leads to the console, and goes on to GraphiQL."""
    await page.goto(server.sign_in_url)
    await expect(page).to_have_url(f"{server.url}/")
    await page.goto(f"{server.url}/graphql")


def editor(page: Page) -> Locator:
    return page.get_by_role("region", name="Operation Editor")


def play_button(page: Page) -> Locator:
    return page.get_by_role("button", name=re.compile("^Execute query"))


def key_field(page: Page) -> Locator:
    return page.get_by_label("API key")


async def test_graphiql_opens_after_the_one_time_url_and_the_flows_example_runs(page: Page, server: Server) -> None:
    watch = Watch(page)
    await open_graphiql(page, server)
    for name in TABS:
        await expect(page.get_by_role("tablist").get_by_role("button", name=name, exact=True)).to_be_visible()
    await expect(page.get_by_role("group", name="Session")).to_be_visible()

    # The play button does nothing before the editor holds the query.
    await expect(editor(page)).to_contain_text("publishedVersion")
    await play_button(page).click()
    await expect(page.get_by_role("region", name="Result Window")).to_contain_text("flaky-checkout")

    assert watch.requests_outside(server.url) == []
    assert watch.errors == []


async def test_editor_checks_a_query_against_the_schema(page: Page, server: Server) -> None:
    watch = Watch(page)
    await open_graphiql(page, server)
    await expect(editor(page)).to_contain_text("publishedVersion")
    await editor(page).get_by_role("textbox").focus()
    await page.keyboard.press("ControlOrMeta+A")
    await page.keyboard.insert_text("{ nonsense }")
    # The mark comes from a worker, which the policy must let start and the service must serve.
    await expect(editor(page).locator(".squiggly-error")).to_be_visible()

    assert any("graphql.worker" in url for url in watch.workers)
    assert watch.errors == []


async def test_form_shows_why_a_key_is_refused_and_accepts_a_valid_one(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/graphql")
    await key_field(page).fill("fr_wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).not_to_be_empty()
    await expect(play_button(page)).to_have_count(0)

    await key_field(page).fill(server.admin_key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(play_button(page)).to_be_visible()


async def test_signing_out_returns_to_the_form_for_good(page: Page, server: Server) -> None:
    await open_graphiql(page, server)
    await page.get_by_role("button", name="Sign out").click()
    await expect(key_field(page)).to_be_visible()

    await page.reload()
    await expect(key_field(page)).to_be_visible()
