"""PostGraphile over the same tables, installed from npm into a folder of its own, if npm is installed."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

VERSION = "5.1.5"
# The tables have no foreign keys, for the sake of writes. PostGraphile accepts links in comments as well.
_LINKS = """
COMMENT ON TABLE flow_run IS E'@foreignKey (flow_id) references flow (id)';
COMMENT ON TABLE step_result IS E'@foreignKey (run_id) references flow_run (id)';
"""
# PostGraphile uses Promise.withResolvers, which Node.js has since version 22; without it each query fails.
_CONFIG = """
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'
import { makePgService } from 'postgraphile/adaptors/pg'
export default {
  extends: [PostGraphileAmberPreset],
  pgServices: [
    makePgService({ connectionString: process.env.DATABASE_DSN, schemas: ['public'], poolConfig: { max: 10 } }),
  ],
  grafserv: {
    port: Number(process.env.PORT), host: '127.0.0.1', graphqlPath: '/graphql', graphiql: false, watch: false,
  },
}
"""


def is_available() -> bool:
    """Returns True if this machine has Node.js and npm."""
    return shutil.which("npm") is not None and shutil.which("node") is not None


async def prepare(url: str, folder: Path) -> dict[str, str]:
    """Installs PostGraphile into `folder`, and gives it the links between tables; returns the environment of its
    process."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    await connection.execute(_LINKS)
    await connection.close()
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    (folder / "graphile.config.mjs").write_text(_CONFIG)
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", f"postgraphile@{VERSION}", "graphql@16", "pg@8"]
    await asyncio.to_thread(subprocess.run, install, cwd=folder, check=True)
    return {"DATABASE_DSN": dsn, "NODE_ENV": "production", "GRAPHILE_ENV": "production"}


COMMAND = ("node", "node_modules/postgraphile/dist/cli-run.js")
