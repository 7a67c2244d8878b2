"""A real OpenID provider: npm's oidc-provider, in a process of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support.processes.node import WEB, running

CLIENT_ID = "flow-runs"
CLIENT_SECRET = "a-secret-of-the-client"
PACKAGE = WEB / "node_modules" / "oidc-provider"

# The forms of its development mode ask for a name alone; the person's groups are those given for the name.
_SCRIPT = f"""
import {{ createServer }} from 'node:http'
import Provider from 'oidc-provider'

const [port, service, groups] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])]
const server = createServer()
server.listen(Number(port), '127.0.0.1', () => {{
  const issuer = `http://127.0.0.1:${{server.address().port}}`
  const provider = new Provider(issuer, {{
    clients: [
      {{
        client_id: '{CLIENT_ID}',
        client_secret: '{CLIENT_SECRET}',
        redirect_uris: [`${{service}}/sign-in/oidc/callback`],
        post_logout_redirect_uris: [`${{service}}/`],
      }},
    ],
    claims: {{ openid: ['sub'], profile: ['name', 'groups'], email: ['email'] }},
    cookies: {{ keys: ['a key of the provider'] }},
    pkce: {{ required: () => true }},
    async findAccount(_, id) {{
      const claims = {{ sub: id, name: `${{id}} of the tests`, groups: groups[id] ?? [] }}
      return {{ accountId: id, claims: async () => claims }}
    }},
  }})
  server.on('request', provider.callback())
  console.log(issuer)
}})
"""


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
    async with running(_SCRIPT, str(port), service, json.dumps(groups)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        issuer = (await process.stdout.readline()).decode().strip()
        if not issuer:
            pytest.fail((await process.stderr.read()).decode())
        yield OpenIdProcess(issuer, process)
