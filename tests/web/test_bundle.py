"""What the build of the console makes: the bytes of the first view, and documents that the service may trust alone."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from playwright.async_api import Page, Response, expect

from service.asgi import CONSOLE_DOCUMENTS
from tests.support.databases.database_templates import SqliteTemplate
from tests.support.processes.server import run_demo_server
from tests.web.console import AXE
from tests.web.test_graphiql import page

__all__ = ["page"]

DIST = CONSOLE_DOCUMENTS.parent
BUDGET = 300_000
"""Bytes of the first view for a client that accepts gzip. GraphiQL is a page of its own."""
ENTRIES = ("index.html", "src/runs/histogram.tsx", "src/views/saved-views.tsx", "src/inbox/pending-count.tsx")
"""The modules from which the first view is loaded: that of the page, and those that it requests by itself."""


def first_view() -> set[str]:
    """Returns the files of the first view: those of its entries, and of all that they import statically."""
    manifest = json.loads((DIST / ".vite" / "manifest.json").read_text())

    def walk(name: str, seen: set[str]) -> Iterator[str]:
        if name in seen:
            return
        seen.add(name)
        chunk = manifest[name]
        yield from (chunk["file"], *chunk.get("css", ()))
        for imported in chunk.get("imports", ()):
            yield from walk(imported, seen)

    seen: set[str] = set()
    return {file for entry in ENTRIES for file in walk(entry, seen)}


def sent_size(name: str) -> int:
    """Returns the bytes of a file as a client gets it that accepts gzip."""
    content = (DIST / name).read_bytes()
    packed = DIST / f"{name}.gz"
    if not packed.exists():
        return len(content)
    assert gzip.decompress(packed.read_bytes()) == content
    return packed.stat().st_size


def test_first_view_is_within_its_budget() -> None:
    sizes = {name: sent_size(name) for name in {"index.html", *first_view()}}
    # The list says what is heavy.
    assert sum(sizes.values()) <= BUDGET, sorted(sizes.items(), key=lambda item: -item[1])


async def test_console_needs_no_other_documents_and_the_first_view_no_other_files(
    page: Page, sqlite_template: SqliteTemplate, tmp_path: Path
) -> None:
    """The console runs against a service that trusts its documents alone."""
    loaded: set[str] = set()
    refused: list[str] = []
    answers = 0

    def note(response: Response) -> None:
        nonlocal answers
        path = urlsplit(response.url).path
        if path.startswith("/assets/"):
            loaded.add(path.removeprefix("/"))
        if path == "/graphql" and response.request.method == "POST":
            answers += 1
        if response.status >= 400:
            refused.append(f"{response.status} {response.url}")

    page.on("response", note)
    with sqlite_template.clone(tmp_path) as database_url:
        async with run_demo_server(database_url, trusted_documents=str(CONSOLE_DOCUMENTS)) as server:
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {server.admin_key}"}) as client:
                other = await client.post(f"{server.url}/graphql", json={"query": "{ __typename }"})
            assert other.json()["errors"][0]["extensions"]["code"] == "DOCUMENT_NOT_TRUSTED"

            await page.goto(server.sign_in_url)
            await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
            await expect(page.get_by_role("img", name=re.compile("^Runs by the time"))).to_be_visible()
            await expect(page.locator("[aria-busy=true]")).to_have_count(0)
            images = {name for name in loaded if name.endswith(".svg")}
            assert {name for name in loaded if name not in images} == first_view()
            # No other test sees the console before its first run.
            await page.evaluate(AXE.read_text())
            assert await page.evaluate("axe.run().then((found) => found.violations.map(({ id }) => id))") == []

            # Queries, subscriptions and mutations of other pages.
            pages = page.get_by_role("navigation", name="Pages")
            await pages.get_by_role("link", name="Flows").click()
            await page.get_by_role("link", name="hello").click()
            await page.get_by_role("tab", name="Run now").click()
            await page.get_by_role("button", name="Start a run").click()
            history = page.get_by_role("region", name="Status history")
            await expect(history.get_by_text("Succeeded", exact=True)).to_be_visible()
            await pages.get_by_role("link", name="Failures").click()
            await expect(page.get_by_role("heading", name="Failures", exact=True)).to_be_visible()
            await pages.get_by_role("link", name="Bulk").click()
            await expect(page.get_by_role("heading", name="Bulk operations", exact=True)).to_be_visible()
    assert refused == []
    assert answers > 5
