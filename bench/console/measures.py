"""The measurements, each on a page of a real browser."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, expect

from bench.console.server import Commits

PROBE = Path(__file__).with_name("probe.js").read_text()
VIEWPORT = {"width": 1440, "height": 900}
PATIENCE = 120.0
GC_ROUNDS = 3

Ask = Callable[..., Awaitable[Any]]
"""Asks the server's process to do something."""


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    figure: str
    budget: str = ""
    is_within: bool | None = None
    """None if there is no budget."""


def judged(what: str, value: float, unit: str, budget: float) -> Line:
    """Returns a line whose figure has a budget."""
    return Line(what, f"{value:,.0f} {unit}", f"{budget:,.0f} {unit}", value <= budget)


@dataclass
class Console:
    """The service, and a browser that is signed in there."""

    url: str
    key: str
    ask: Ask
    browser: Browser

    async def context(self) -> BrowserContext:
        """Returns a browser with an empty cache."""
        context = await self.browser.new_context(viewport=VIEWPORT)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE * 1e3)
        await context.add_init_script(PROBE)
        await context.request.post(f"{self.url}/sign-in", data={"key": self.key})
        return context

    async def open(self, context: BrowserContext, path: str = "/") -> Page:
        """Opens a page, and returns it once it follows the service."""
        page = await context.new_page()
        await page.goto(f"{self.url}{path}")
        await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=PATIENCE * 1e3)
        await expect(page.locator("[aria-busy=true]")).to_have_count(0)
        return page

    async def first_view(self) -> list[Line]:
        """Measures what the first view loads, and when its rows can be used: without and with a cache."""
        context = await self.context()
        page = await context.new_page()
        loaded: list[str] = []
        page.on("request", lambda request: loaded.append(request.url))
        times = []
        for _ in range(2):
            await page.goto(self.url)
            await until(page, "() => probe.firstRow !== null")
            # What holds the page up after the rows are there delays those who click them.
            await page.wait_for_timeout(500)
            times.append(
                await page.evaluate(
                    """Math.max(probe.firstRow, ...probe.longTasks
                        .filter(({ startTime }) => startTime < probe.firstRow)
                        .map(({ startTime, duration }) => startTime + duration))"""
                )
            )
        paths = {urlsplit(url).path for url in loaded}
        size = await self._packed(sorted(path for path in paths if path == "/" or path.startswith("/assets/")))
        await context.close()
        return [
            judged("first view, gzipped", size / 1e3, "KB", 300),
            judged("interactive, empty cache", times[0], "ms", 1_000),
            judged("interactive, from the cache", times[1], "ms", 1_000),
        ]

    async def _packed(self, paths: Sequence[str]) -> int:
        size = 0
        headers = {"accept": "text/html", "accept-encoding": "gzip"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            for path in paths:
                async with client.stream("GET", path) as response:
                    size += sum([len(part) async for part in response.aiter_raw()])
        return size

    async def single_changes(self, count: int) -> list[Line]:
        """Measures the time from the commit of single changes until their rows are on the screen."""
        context = await self.context()
        page = await self.open(context)
        commits: Commits = []
        for _ in range(count):
            commits += await self.ask("create")
            await asyncio.sleep(0.3)
        measured = await self._latency(page, commits, "commit to screen")
        await context.close()
        return measured

    async def changes(self, rate: int, seconds: float) -> list[Line]:
        """Measures the page while runs change at a steady rate."""
        context = await self.context()
        page = await self.open(context)
        await page.evaluate("probe.start()")
        commits = await self.ask("change", rate, seconds)
        name = f"{rate} changes/s"
        measured = frames(name, await page.evaluate("probe.stop()"))
        measured += await self._latency(page, commits, f"{name}: commit to screen")
        await context.close()
        return measured

    async def _latency(self, page: Page, commits: Commits, name: str) -> list[Line]:
        last = commits[-1][0]
        await until(page, "(id) => probe.seen[id]", last)
        seen = await page.evaluate("probe.seen")
        delays = [seen[run_id] - at for run_id, at in commits if seen.get(run_id)]
        cuts = statistics.quantiles(delays, n=20)
        shown = f"{len(delays):,} of {len(commits):,} rows"
        return [
            Line(f"{name}, median", f"{cuts[9]:,.0f} ms", shown),
            judged(f"{name}, 95 %", cuts[18], "ms", 150),
        ]

    async def scrolling(self, count: int, rate: int, seconds: float) -> list[Line]:
        """Measures scrolling through `count` loaded rows: at rest, and while runs change."""
        context = await self.context()
        page = await self.open(context)
        rows = page.get_by_role("table", name="Runs").get_by_role("rowgroup")
        began = time.monotonic()
        await rows.evaluate(
            """async (element, height) => {
                while (element.scrollHeight < height) {
                    element.scrollTop = element.scrollHeight
                    await new Promise(requestAnimationFrame)
                }
            }""",
            count * 42,
        )
        took = time.monotonic() - began
        measured = [Line(f"{count:,} rows are loaded by scrolling", f"{took:.1f} s")]
        await page.evaluate("probe.start()")
        await rows.evaluate("probe.scroll")
        measured += frames(f"scrolling {count:,} rows", await page.evaluate("probe.stop()"))
        await page.evaluate("probe.start()")
        changing = asyncio.ensure_future(self.ask("change", rate, seconds))
        await asyncio.sleep(0.5)
        await rows.evaluate("probe.scroll")
        await changing
        measured += frames(f"{count:,} rows, {rate} changes/s", await page.evaluate("probe.stop()"))
        await context.close()
        return measured

    async def memory(self, changes: int) -> list[Line]:
        """Measures what a page holds after so many changes as an hour brings, made as fast as the worker can."""
        context = await self.context()
        page = await self.open(context)
        session = await context.new_cdp_session(page)
        before = await heap(session)
        took = await self.ask("hurry", changes)
        await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        await asyncio.sleep(5)
        after = await heap(session)
        await context.close()
        return [
            Line(f"memory before and after {changes:,} changes", f"{before:.0f} → {after:.0f} MiB", f"in {took:.0f} s"),
        ]


async def until(page: Page, condition: str, argument: object = None) -> None:
    """Returns when a condition is true in the page. Its policy forbids the browser to wait for that by itself."""
    async with asyncio.timeout(PATIENCE):
        while not await page.evaluate(condition, argument):
            await asyncio.sleep(0.05)


def frames(name: str, found: Any) -> list[Line]:
    """Returns the figures on frames and long tasks."""
    lengths, tasks = found["frames"], found["longTasks"]
    smooth = sum(length < 34 for length in lengths) / len(lengths)
    return [
        judged(f"{name}: longest frame", max(lengths), "ms", 100),
        Line(f"{name}: frames within 34 ms", f"{smooth:.1%}"),
        Line(f"{name}: long tasks", f"{len(tasks)}, {max(tasks, default=0):.0f} ms at most"),
    ]


async def heap(session: CDPSession) -> float:
    """Returns the MiB that are left on the page's heap after its garbage is collected."""
    for _ in range(GC_ROUNDS):
        await session.send("HeapProfiler.collectGarbage")
    usage = await session.send("Runtime.getHeapUsage")
    used: float = usage["usedSize"]
    return used / 2**20
