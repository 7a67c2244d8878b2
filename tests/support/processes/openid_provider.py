"""A real OpenID provider: npm's oidc-provider, in a process of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes.node import WEB, running

CLIENT_ID = "flow-runs"
CLIENT_SECRET = "a-secret-of-the-client"
PACKAGE = WEB / "node_modules" / "oidc-provider"

_SCRIPT = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True)
class OpenIdProcess:
    """The provider, and its process."""

    issuer: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def openid_provider(port: int, service: str, groups: Mapping[str, Sequence[str]]) -> AsyncIterator[OpenIdProcess]:
    """A provider on `port`, whose client is the service at the URL `service`; `groups` are those of each person."""
    if not PACKAGE.is_dir():
        pytest.skip("npm's oidc-provider is not installed: scripts/build-web test needs the npm registry for it")
    async with running(
        _SCRIPT.read_text(), str(port), service, CLIENT_ID, CLIENT_SECRET, json.dumps(groups)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        issuer = (await process.stdout.readline()).decode().strip()
        if not issuer:
            pytest.fail((await process.stderr.read()).decode())
        yield OpenIdProcess(issuer, process)
