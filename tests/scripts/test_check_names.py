"""Banned words do not return as identifiers: scripts/check-names reads the table of docs/glossary.md."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(path: Path) -> tuple[int, list[str]]:
    """The exit code, and the names that are reported."""
    command = [sys.executable, str(ROOT / "scripts" / "check-names"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, [line.split(": ")[1] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def tell(): ...", "tell"),
        ("async def _tell_all(): ...", "_tell_all"),
        ("class TicketQueue: ...", "TicketQueue"),
        ("def f(wanted): ...", "wanted"),
        ("def f(*, told_by=None): ...", "told_by"),
        ("f = lambda anew: 1", "anew"),
        ("MEANT = 1", "MEANT"),
        ("for told in []: ...", "told"),
        ("x = [notes for notes in []]", "notes"),
        ("self.shelves = {}", "shelves"),
        ("import x as horizon", "horizon"),
        ("with open('f') as carrier: ...", "carrier"),
        ("try: ...\nexcept E as nobody: ...", "nobody"),
        ("match x:\n    case [*places]: ...", "places"),
        ("if (cut := 1): ...", "cut"),
    ],
)
def test_banned_name_is_reported(tmp_path: Path, source: str, name: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert check(path) == (1, [name])


@pytest.mark.parametrize(
    "source",
    [
        "def intelligent(): ...",
        "log_lines = stored_notes = cutoff = 1",
        "'told'  # nobody is told",
        "other.tell()",
        "def satellite(metold): ...",
    ],
)
def test_other_names_are_accepted(tmp_path: Path, source: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert check(path) == (0, [])


def test_file_name_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "tickets.py"
    path.write_text("")
    assert check(path) == (1, ["tickets"])
