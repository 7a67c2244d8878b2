"""A PostgreSQL server for tests, in a directory of its own.

The object holds no process: the server belongs to its directory, so that several test processes can share one, and the
guard of the directory (guarded.py) ends it.
"""

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.account import Account, unprivileged
from tests.support.databases.binaries import find_binaries, usable_by
from tests.support.processes.guarded import guarded_directory

SUPERUSER = "flowruns"

# Nothing here has to survive a crash of the machine, so nothing waits for the disk. What was committed does survive
# a SIGKILL of the server, hence synchronous_commit is not off as well.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",  # it would sit in a template just when that is to be cloned
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}

# Below the ports that systems give to outgoing connections, one of which could take it while the server is down.
_PORTS = range(20_000, 32_000)

_RESTART_SECONDS = 10.0


class PostgresServer:
    """A server that can be stopped, started and killed; made of the directory that its guard watches."""

    def __init__(self, directory: Path, account: Account, binaries: Path) -> None:
        self.directory = directory
        self._account = account
        self._binaries = binaries
        self._data = directory / "data"
        self._log = directory / "log"
        self._pid_file = self._data / "postmaster.pid"
        self._port_file = directory / "port"

    def start(self) -> None:
        """Start it and wait until it answers; the first time makes its data."""
        if not self._port_file.exists():
            self._initialize()
        deadline = time.monotonic() + _RESTART_SECONDS
        while error := self._try_start():
            # Sessions of a killed server hold its memory until they notice.
            if "is still in use" not in error or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {error}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End all sessions and shut down in good order."""
        self._pg_ctl("stop", "--mode=fast")

    def crash(self) -> None:
        """Break everything off at once: the next start recovers from the log."""
        self._pg_ctl("stop", "--mode=immediate")

    def kill(self) -> None:
        """SIGKILL the server, as the kernel does when memory runs out."""
        os.kill(self.pid, signal.SIGKILL)
        # Without a process that collects dead children it would look alive, and the next start would refuse.
        self._pid_file.unlink()

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._pid_file.exists()

    @property
    def pid(self) -> int:
        """The main process."""
        return int(self._pid_file.read_text().splitlines()[0])

    def url(self, database: str = "postgres") -> str:
        """Where a client finds one of its databases; the same over all restarts."""
        return f"postgresql+asyncpg://{SUPERUSER}@127.0.0.1:{self._port_file.read_text()}/{database}"

    def _initialize(self) -> None:
        initdb = self._binaries / "initdb"
        how = ("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
        result = self._account.run(self.directory, initdb, f"--pgdata={self._data}", f"--username={SUPERUSER}", *how)
        if result.returncode:
            raise RuntimeError(f"initdb failed: {result.stdout}")
        port = free_port()
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in (_SETTINGS | {"port": str(port)}).items())
        self._port_file.write_text(str(port))

    def _try_start(self) -> str | None:
        """Why it did not start, or None."""
        self._log.unlink(missing_ok=True)
        result = self._account.run(self.directory, *self._command("start", f"--log={self._log}"))
        if result.returncode == 0:
            return None
        return result.stdout + (self._log.read_text() if self._log.exists() else "")

    def _pg_ctl(self, *arguments: str) -> None:
        result = self._account.run(self.directory, *self._command(*arguments))
        if result.returncode:
            raise RuntimeError(f"pg_ctl {arguments[0]} failed: {result.stdout}")

    def _command(self, *arguments: str) -> tuple[str | Path, ...]:
        return (self._binaries / "pg_ctl", *arguments, f"--pgdata={self._data}", "--wait")


@contextmanager
def postgres_server(binaries: Path | None = None) -> Iterator[PostgresServer]:
    """A server of its own, started, in a directory that goes with it."""
    account = unprivileged()
    with guarded_directory(account) as directory:
        yield start_server(directory, account, binaries)


def start_server(directory: Path, account: Account, binaries: Path | None = None) -> PostgresServer:
    """A server in a guarded directory of this account, started, with these programs or those of the machine."""
    programs = usable_by(account, binaries or find_binaries(), directory)
    server = PostgresServer(directory, account, programs)
    server.start()
    return server


def free_port() -> int:
    """Returns a port of this machine on which no process listens, nor is likely to listen soon."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
