"""The account of the PostgreSQL programs: they refuse root, so under root they run as a user without privileges."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """The user and group of a child process; None keeps those of this one."""

    uid: int | None = None
    gid: int | None = None

    def run(self, directory: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in a directory that this account may enter."""
        return subprocess.run(
            command,
            cwd=directory,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
        )

    def own(self, path: Path) -> None:
        """Hand over a file or a directory with all it holds."""
        if self.uid is None or self.gid is None:
            return
        for each in (path, *path.rglob("*")):
            os.chown(each, self.uid, self.gid, follow_symlinks=False)

    @property
    def groups(self) -> list[int] | None:
        """The supplementary groups: none for another user, who should not get root's."""
        return None if self.uid is None else []


def unprivileged() -> Account:
    """This user, or, for root, `nobody` or else the first other user there is."""
    if os.geteuid() != 0:
        return Account()
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise RuntimeError("PostgreSQL does not run as root, and this machine has no other user to run it as")
    chosen = min(others, key=lambda entry: (entry.pw_name != "nobody", entry.pw_uid))
    return Account(chosen.pw_uid, chosen.pw_gid)


def child_environment() -> dict[str, str]:
    """PATH alone, and a locale that is on every machine: initdb stops at a LANG that names a missing one."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
