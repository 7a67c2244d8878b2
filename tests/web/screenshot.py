"""Makes docs/images/graphiql.png: GraphiQL with a run and its steps, from a service of its own (scripts/screenshot)."""

import asyncio
import os
import re
import shutil
import tempfile
from pathlib import Path

import httpx
from playwright.async_api import async_playwright, expect

from tests.support.processes.commands import run_service
from tests.web.test_graphiql import BROWSER_ARGS, BROWSERS, editor, play_button

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "graphiql.png"
SIZE = {"width": 1280, "height": 800}
QUERY = """\
query LatestRun {
  flowRuns(first: 1) {
    nodes {
      id
      status
      flow {
        name
      }
      steps {
        name
        status
      }
      error {
        code
      }
    }
  }
}
"""
FLOWS = '{ flows(filter: {nameContains: "flaky"}) { nodes { id } } }'
START = """
mutation ($flow: ID!) {
  startRun(input: {flowId: $flow, waitMs: 30000}) { ... on StartRunSuccess { run { id } } }
}
"""


async def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/flowruns.db"
        environment = {**os.environ, "FLOWRUNS_DATABASE_URL": url, "FLOWRUNS_PORT": "0", "PYTHONUNBUFFERED": "1"}
        async with run_service(environment, "serve") as (url, said):
            key = (Path(folder) / "admin.key").read_text().strip()
            await run_failing_flow(url, key)
            sign_in = next(word for word in said.split() if "/sign-in?token=" in word)
            await photograph(sign_in)


async def run_failing_flow(url: str, key: str) -> None:
    """Starts the demo flow whose payment step fails, and returns when the run has ended."""
    async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        flows = (await http.post("/graphql", json={"query": FLOWS})).json()["data"]["flows"]["nodes"]
        body = {"query": START, "variables": {"flow": flows[0]["id"]}}
        (await http.post("/graphql", json=body)).raise_for_status()


async def photograph(sign_in: str) -> None:
    """Signs in, runs the query, and saves what the page shows."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=BROWSER_ARGS)
        page = await browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        await page.goto(sign_in)
        await expect(editor(page)).to_contain_text("publishedVersion")
        await editor(page).get_by_role("textbox").focus()
        await page.keyboard.press("ControlOrMeta+A")
        await page.keyboard.insert_text(" ".join(QUERY.split()))
        # The editor closed the first brace by itself.
        await page.keyboard.press("ControlOrMeta+Shift+End")
        await page.keyboard.press("Delete")
        await expect(editor(page)).to_contain_text("LatestRun")
        await page.get_by_role("button", name=re.compile("Prettify")).click()
        await play_button(page).click()
        await expect(page.get_by_role("region", name="Result Window")).to_contain_text("flaky-checkout")
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=IMAGE)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
