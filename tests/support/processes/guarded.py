"""A temporary directory that never outlives its owner: not even after a SIGKILL, nor does the server in it.

A shell waits at the other end of a pipe. When the owner closes the pipe, or is gone, it stops the PostgreSQL server
whose data is in `data`, if there is one, and removes the directory.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.account import Account, child_environment

# SIGQUIT is PostgreSQL's "stop at once". The file is watched as well as the process, since in a container
# a dead process may stay in the table for ever.
_GUARD = """
read -r _
lock="$1/data/postmaster.pid"
if [ -e "$lock" ]; then
    pid=$(head -n 1 "$lock")
    kill -QUIT "$pid"
    while [ -e "$lock" ] && kill -0 "$pid"; do sleep 0.02; done
fi 2>/dev/null
rm -rf "$1"
"""

# PostgreSQL makes and removes 300 files for each clone of a database, which takes a disk's file system 10 to 20 times
# as long as memory's. A run needs a tenth of this.
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 2 * 1024**3


@contextmanager
def guarded_directory(account: Account) -> Iterator[Path]:
    """A new directory of this account's, gone with all it holds at the end."""
    directory = Path(tempfile.mkdtemp(prefix="flowruns-", dir=_parent()))
    account.own(directory)
    with subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "guard", directory],
        cwd="/",
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=account.uid,
        group=account.gid,
        extra_groups=account.groups,
        start_new_session=True,  # Ctrl-C is for the tests, which stop the server when they are through
    ):
        yield directory


def _parent() -> Path | None:
    """Where to make directories; None is the place that TMPDIR names."""
    if _memory_serves():
        return _MEMORY
    # Under root TMPDIR may be a place that only root can enter.
    return Path("/tmp") if os.geteuid() == 0 else None


def _memory_serves() -> bool:
    if not os.access(_MEMORY, os.W_OK):
        return False
    about = os.statvfs(_MEMORY)
    # Programs may have to be copied there too (binaries.py); containers forbid to run any from it.
    return about.f_bavail * about.f_frsize >= _MEMORY_NEEDED and not about.f_flag & os.ST_NOEXEC
