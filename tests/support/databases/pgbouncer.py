"""PgBouncer in front of a database of the tests' server."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 200
logfile = {folder}/log
"""


@contextmanager
def pgbouncer(database_url: str, mode: str, sessions: int) -> Iterator[str]:
    """Runs PgBouncer with at most `sessions` sessions of the server; yields the URL of the database behind it."""
    assert PROGRAM is not None
    url, account, port = make_url(database_url), unprivileged(), free_port()
    with guarded_directory(account) as folder:
        configuration = _write(folder, url.host, url.port, url.username, port, mode, sessions)
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
            yield url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        finally:
            process.kill()
            process.wait()


def _write(
    folder: Path, host: str | None, port: int | None, user: str | None, listen_port: int, mode: str, sessions: int
) -> Path:
    file = folder / "pgbouncer.ini"
    file.write_text(
        _CONFIGURATION.format(
            host=host, port=port, user=user, listen_port=listen_port, mode=mode, sessions=sessions, folder=folder
        )
    )
    return file


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
