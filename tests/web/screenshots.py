"""Makes the pictures of docs/images: the console's pages, from a service of its own (scripts/screenshots [NAME…]).

A picture is a `Shot`: where it is taken, what it waits for, and what is done there before.
"""

import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from db.assembly import open_database
from db.migrate import upgrade
from domain import ids
from domain.enums import RunStatus
from domain.ids import IdKind
from domain.time import clock
from tests.support.factory import PublishedFlow, make_runs, uuid_at
from tests.web.browsers import BROWSER_ARGS, ROOT, find_browser
from tests.web.console import PATIENCE_MS, Service, sign_in

IMAGES = ROOT / "docs" / "images"
SIZE: ViewportSize = {"width": 1280, "height": 800}
CUSTOMERS = ("acme", "globex", "initech")
DAY = (("flaky-checkout", "checkout", 900), ("hello", "greeting", 500), ("refund", "refund", 200))
"""Flows, the tags of their runs, and how many of these a day has."""
OUTAGE = (40, 95)
"""Minutes before now between which most runs fail."""


@dataclass(frozen=True)
class Shot:
    """A picture of a page. Its path may name `{runs}`, such as `{failed}`."""

    name: str
    path: str
    text: str
    """The picture is taken when the page shows this."""
    prepare: Callable[[Page], None] | None = None


def open_more_filters(page: Page) -> None:
    page.get_by_role("button", name="More filters").click()
    expect(page.get_by_role("combobox", name="Metadata path")).to_be_visible()


def do_dry_run(page: Page) -> None:
    page.get_by_label("Select all matching runs").click()
    page.get_by_role("button", name="Retry", exact=True).click()
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("region", name="Dry run")).to_contain_text("eligible")


def open_retry(page: Page) -> None:
    page.get_by_role("button", name="Retry", exact=True).first.click()
    expect(page.get_by_role("menuitem").first).to_be_visible()


def choose_question(page: Page) -> None:
    page.get_by_role("list", name="Questions").get_by_role("link").first.click()
    expect(page.get_by_label("Comment")).to_be_visible()


FIND = json.dumps([{"path": "customer.id", "equals": "acme"}])
SHOTS = (
    Shot("console-find", f"/?statuses=FAILED&createdWithin=P1D&metadataConditions={quote(FIND)}", "checkout"),
    Shot("console-runs", "/?createdWithin=PT1H", "flaky-checkout"),
    Shot("console-filters", "/?createdWithin=P1D&statuses=FAILED", "flaky-checkout", open_more_filters),
    Shot("console-bulk", "/?tags=checkout&statuses=FAILED&createdWithin=P1D", "flaky-checkout", do_dry_run),
    Shot("console-run", "/runs/{failed}", "PROVIDER_DOWN"),
    Shot("console-retry", "/runs/{failed}", "PROVIDER_DOWN", open_retry),
    Shot("console-compare", "/compare?left={good}&right={failed}", "charge"),
    Shot("console-question", "/inbox", "Approve the refund?", choose_question),
    Shot("console-failures", "/failures?createdWithin=P1D", "charge"),
    Shot("console-flow", "/flows/{refund}", "approve"),
    Shot("console-schedules", "/flows/{refund}?tab=schedules", "Monday through Friday"),
    Shot("console-operate", "/operate", "Workers"),
)
FIRST = Shot("console-first", "/", "There are no runs yet")
"""Taken before there is a run."""


def main(names: list[str]) -> None:
    """Writes the pictures with these names; without names, all."""
    with service() as running, console(running) as page:
        chosen = [shot for shot in (FIRST, *SHOTS) if not names or shot.name in names]
        if FIRST in chosen:
            take(page, running, FIRST, {})
            chosen.remove(FIRST)
        runs = make_content(running)
        for shot in chosen:
            take(page, running, shot, runs)


@contextmanager
def service() -> Iterator[Service]:
    """Yields a service on a new database."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/flowruns.db"
        upgrade(url)
        running = Service(url, Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop()


@contextmanager
def console(running: Service) -> Iterator[Page]:
    """Yields a page of a browser that is signed in. Its language and its time zone do not depend on the machine."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGS) as browser,
    ):
        page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB", timezone_id="Europe/Berlin")
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        sign_in(page.context, running.url, running.key)
        yield page


def make_content(running: Service) -> Mapping[str, str]:
    """Makes a day of runs, and some of now that have steps; returns the IDs that paths of pictures name."""
    with ThreadPoolExecutor(1) as thread:  # The browser's loop is running in this one.
        thread.submit(asyncio.run, make_day(running)).result()
    named: dict[str, str] = {"refund": running.flows["refund"]}
    running.ask(
        'mutation ($f: ID!) { createSchedule(input: {flowId: $f, cron: "0 6 * * 1-5", input: {order: "daily"}})'
        " { __typename } }",
        f=named["refund"],
    )
    for number, customer in enumerate(CUSTOMERS * 2):
        metadata = {"customer": {"id": customer}}
        running.run("hello", wait=False, tags=["greeting"], metadata=metadata)
        named["failed"] = running.run("flaky-checkout", tags=["checkout"], metadata=metadata)
        running.pause(f"A-{1042 + number}", tags=["refund"], metadata=metadata)
    retried = running.ask(
        "mutation ($r: ID!) { retry(runId: $r, strategy: FROM_FAILED_STEP) { ... on RetrySuccess { run { id } } } }",
        r=running.run("flaky-checkout", tags=["checkout"]),
    )
    named["good"] = retried["retry"]["run"]["id"]
    return named


async def make_day(running: Service) -> None:
    """Writes the runs of the last day. While the payment provider was away, most of them failed."""
    chance = random.Random(7)
    rows = "{ flows { nodes { id name publishedVersion { id } } } viewer { project { id } } }"
    found = running.ask(rows)
    project_id = ids.decode(IdKind.PROJECT, found["viewer"]["project"]["id"])
    flows = {flow["name"]: flow for flow in found["flows"]["nodes"]}
    database = open_database(running.database_url)
    now = clock.now()
    for name, tag, length in (
        ("flaky-checkout", "checkout", 900),
        ("hello", "greeting", 500),
        ("refund", "refund", 200),
    ):
        flow = flows[name]
        version = flow["publishedVersion"]["id"]
        published = PublishedFlow(
            project_id, ids.decode(IdKind.FLOW, flow["id"]), ids.decode(IdKind.FLOW_VERSION, version)
        )
        runs = []
        for _ in range(length):
            minutes = chance.uniform(2, 24 * 60)
            is_out = OUTAGE[0] < minutes < OUTAGE[1]
            has_failed = name != "hello" and chance.random() < (0.8 if is_out else 0.04)
            length_ms = chance.randrange(200, 4_000)
            failure = {
                "status": RunStatus.FAILED,
                "failed_step_name": "charge" if name == "flaky-checkout" else "pay",
                "error_code": "HTTP_STATUS",
                "error_message": "The provider answered with 503 Service Unavailable.",
                "error_fingerprint": f"{name}-503".ljust(16, "0"),
            }
            created_at = now - timedelta(minutes=minutes)
            runs.append(
                {
                    "id": uuid_at(created_at, chance.randrange(4096)),
                    "finished_at": created_at + timedelta(milliseconds=length_ms),
                    "duration_ms": length_ms,
                    "tags": [tag],
                    "metadata": json.dumps({"customer": {"id": chance.choice(CUSTOMERS)}}),
                    **(failure if has_failed else {"status": RunStatus.SUCCEEDED}),
                }
            )
        await database.write(make_runs, published, runs)
    await database.close()


def take(page: Page, running: Service, shot: Shot, runs: Mapping[str, str]) -> None:
    """Takes a picture."""
    page.goto(f"{running.url}{shot.path.format_map(runs)}")
    expect(page.get_by_text(shot.text).first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    if shot.prepare:
        shot.prepare(page)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / f"{shot.name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
