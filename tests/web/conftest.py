"""The pages are built once. Tests of the console share one service for each database, and one browser in a file."""

import subprocess
from collections.abc import Iterator

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.databases.database_templates import Template
from tests.web.browsers import BROWSER_ARGS, ROOT, find_browser
from tests.web.console import WIDE, Service, page_of, sign_in


@pytest.fixture(scope="session", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory) -> None:
    # The lock lets one of several test processes build; the others then find the result.
    with FileLock(tmp_path_factory.getbasetemp().parent / "build-web.lock"):
        subprocess.run([ROOT / "scripts" / "build-web", "test"], check=True)


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
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
    with browser.new_context(viewport=WIDE) as opened:
        sign_in(opened, service.url, service.key)
        yield opened


@pytest.fixture
def page(context: BrowserContext, service: Service) -> Iterator[Page]:
    with page_of(context, service.url) as opened:
        yield opened
