"""Measures the console in a real browser against a real service: `python -m bench.console [--only sqlite]`.

A process serves the API and executes runs; Chromium shows the list of runs. Prints, for each database, the bytes of the
first view and the time until its rows can be used, the time from a commit until the row is on the screen, frames and
long tasks while runs change and while 10,000 loaded rows are scrolled, and the memory of the page after as many changes
as an hour brings, each beside its budget. Exits with 1 if a budget is missed.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.async_api import async_playwright

from bench.console.measures import Console, Line
from bench.console.server import be_server
from bench.read.__main__ import create_database
from db.migrate import upgrade
from tests.support.databases.postgres import postgres_server
from tests.web.browsers import BROWSER_ARGS, find_browser

EXACT_HEAP = "--enable-precise-memory-info"


async def measure(pipe: Any, options: argparse.Namespace) -> bool:
    """Prints the table of one database; returns True if all budgets are kept."""
    port, key = await asyncio.to_thread(pipe.recv)

    async def ask(name: str, *arguments: object) -> Any:
        pipe.send((name, *arguments))
        return await asyncio.to_thread(pipe.recv)

    kept = True
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=[*BROWSER_ARGS, EXACT_HEAP])
        console = Console(f"http://127.0.0.1:{port}", key, ask, browser)
        await ask("fill", options.rows + 1_000)
        for part in (
            console.first_view(),
            console.single_changes(options.singles),
            console.changes(options.rate, options.seconds),
            console.scrolling(options.rows, options.rate, options.seconds),
            console.memory(options.changes),
        ):
            for line in await part:
                print_line(line)
                kept = kept and line.is_within is not False
        await browser.close()
    pipe.send("stop")
    return kept


def print_line(line: Line) -> None:
    """Prints a line of the table."""
    verdict = {None: "", True: "yes", False: "NO"}[line.is_within]
    print(f"| {line.what:52} | {line.figure:>20} | {line.budget:>18} | {verdict:3} |", flush=True)


@contextmanager
def database(dialect: str) -> Iterator[str]:
    """Yields the URL of a new database."""
    if dialect == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite+aiosqlite:///{folder}/bench.db"
    else:
        with postgres_server() as server:
            url = server.url("console")
            asyncio.run(create_database(url))
            yield url


def run(dialect: str, options: argparse.Namespace) -> bool:
    """Measures one database."""
    with database(dialect) as url:
        upgrade(url)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        server = context.Process(target=be_server, args=(url, theirs), daemon=True)
        server.start()
        print_line(Line(f"{dialect}, load {os.getloadavg()[0]:.2f}", "", "budget"))
        kept = asyncio.run(measure(ours, options))
        server.join(10)
        return kept


def parsed_options() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="leave the other database out")
    parser.add_argument("--rows", type=int, default=10_000, help="rows to load and scroll; by default 10,000")
    parser.add_argument("--singles", type=int, default=100, help="single changes; by default 100")
    parser.add_argument("--rate", type=int, default=200, help="changes a second; by default 200")
    parser.add_argument("--seconds", type=float, default=20, help="seconds of changes; by default 20")
    parser.add_argument("--changes", type=int, default=36_000, help="changes of an hour; by default 36,000")
    return parser.parse_args()


if __name__ == "__main__":
    options = parsed_options()
    dialects = [options.only] if options.only else ["sqlite", "postgresql"]
    results = [run(dialect, options) for dialect in dialects]
    sys.exit(0 if all(results) else 1)
