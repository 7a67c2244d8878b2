"""Makes the pictures of docs/images: the console's pages, from a service of its own (scripts/screenshot)."""

import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from db.migrate import upgrade
from tests.web.browsers import BROWSER_ARGS, ROOT, find_browser
from tests.web.console import PATIENCE_MS, WIDE, Service, sign_in

IMAGES = ROOT / "docs" / "images"
CUSTOMERS = ("acme", "globex", "initech")


def main() -> None:
    """Writes the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/flowruns.db"
        upgrade(url)
        service = Service(url, Path(folder))
        try:
            service.start()
            photograph(service)
        finally:
            service.stop()


def photograph(service: Service) -> None:
    """Starts some runs, and saves what each page shows of them."""
    for number, customer in enumerate(CUSTOMERS * 4):
        metadata = {"customer": {"id": customer}}
        service.run("hello", wait=False, tags=["greeting"], metadata=metadata)
        failed = service.run("flaky-checkout", tags=["checkout", customer], metadata=metadata)
        if number % 3 == 0:
            paused = service.pause(f"A-{number}", tags=["refund"], metadata=metadata)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGS) as browser,
    ):
        page = browser.new_page(viewport=WIDE, color_scheme="light")  # type: ignore[arg-type]
        expect.set_options(timeout=PATIENCE_MS)
        sign_in(page.context, service.url, service.key)
        save(page, f"{service.url}/", "refund", "console-runs")
        save(page, f"{service.url}/runs/{failed}", "PROVIDER_DOWN", "console-run")
        save(page, f"{service.url}/runs/{paused}", "Comment", "console-question")
        save(page, f"{service.url}/failures", "charge", "console-failures")
        save(page, f"{service.url}/flows/{service.flows['refund']}", "approve", "console-flow")
        page.goto(f"{service.url}/?tags=checkout")
        page.get_by_label("Select all matching runs").click()
        page.get_by_role("button", name="Retry", exact=True).click()
        page.get_by_role("button", name="Dry run").click()
        expect(page.get_by_role("region", name="Dry run")).to_contain_text("eligible")
        page.screenshot(path=IMAGES / "console-bulk.png")


def save(page: Page, address: str, text: str, name: str) -> None:
    """Opens a page, and saves a picture of it once it shows `text`."""
    page.goto(address)
    expect(page.get_by_text(text).first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
