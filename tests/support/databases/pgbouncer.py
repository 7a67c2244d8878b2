"""PgBouncer in front of databases of the tests' server."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

from sqlalchemy import make_url

from tests.support.account import child_environment, unprivileged
from tests.support.databases.postgres import free_port
from tests.support.processes.guarded import guarded_directory

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
_START_SECONDS = 10.0
_CONFIGURATION = """
[databases]
{databases}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
max_client_conn = 200
logfile = {folder}/log
"""


@dataclass(frozen=True, slots=True)
class Pool:
    """Sessions of one database of a server, which connections share."""

    database_url: str
    mode: str
    """`session` or `transaction`."""
    sessions: int
    """Sessions at most."""


@contextmanager
def pgbouncer(pools: Mapping[str, Pool]) -> Iterator[Mapping[str, str]]:
    """Runs PgBouncer with these pools; yields the URL of each, by its name."""
    assert PROGRAM is not None
    account, port = unprivileged(), free_port()
    with guarded_directory(account) as folder:
        configuration = _write(folder, pools, port)
        account.own(folder)
        process = subprocess.Popen(
            [PROGRAM, configuration],
            cwd=folder,
            env=child_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
        try:
            _wait_until_listening(port)
            yield {name: _url(name, pool, port) for name, pool in pools.items()}
        finally:
            process.kill()
            process.wait()


def _url(name: str, pool: Pool, port: int) -> str:
    url = make_url(pool.database_url).set(host="127.0.0.1", port=port, database=name)
    return url.render_as_string(hide_password=False)


def _write(folder: Path, pools: Mapping[str, Pool], port: int) -> Path:
    file = folder / "pgbouncer.ini"
    databases = "\n".join(f"{name} = {_entry(pool)}" for name, pool in pools.items())
    file.write_text(_CONFIGURATION.format(databases=databases, port=port, folder=folder))
    return file


def _entry(pool: Pool) -> str:
    url = make_url(pool.database_url)
    return (
        f"host={url.host} port={url.port} dbname={url.database} user={url.username}"
        f" pool_mode={pool.mode} pool_size={pool.sessions}"
    )


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with closing(create_connection(("127.0.0.1", port), 1)):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
