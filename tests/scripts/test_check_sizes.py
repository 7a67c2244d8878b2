"""Files and folders stay small: scripts/check-sizes counts lines and modules."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def add(repository: Path, name: str, line_count: int = 1) -> None:
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x = 1\n" * line_count)


def check(repository: Path) -> tuple[int, str]:
    """The exit code and the report, with everything in the repository tracked."""
    subprocess.run(["git", "add", "-A"], cwd=repository, check=True)
    command = [sys.executable, str(ROOT / "scripts" / "check-sizes"), str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["a.py", "db/a.py", "web/src/a.ts", "web/src/a.tsx"])
def test_file_above_500_lines_is_reported(repository: Path, name: str) -> None:
    add(repository, name, 500)
    assert check(repository) == (0, "")
    add(repository, name, 501)
    assert check(repository) == (1, f"{name}: 501 lines, at most 500 are allowed\n")


def test_folder_above_15_modules_is_reported(repository: Path) -> None:
    for number in range(15):
        add(repository, f"live/module_{number}.py")
        add(repository, f"live/topics/module_{number}.py")
    add(repository, "live/__init__.py")
    add(repository, "live/topics/read.md")
    assert check(repository) == (0, "")
    add(repository, "live/topics/one_more.py")
    assert check(repository) == (1, "live/topics: 16 modules, at most 15 are allowed\n")


def test_migrations_have_no_limit(repository: Path) -> None:
    for number in range(20):
        add(repository, f"db/migrations/versions/{number:04}.py")
    assert check(repository) == (0, "")


def test_deleted_and_untracked_files_are_ignored(repository: Path) -> None:
    add(repository, "long.py", 501)
    check(repository)
    (repository / "long.py").unlink()
    (repository / ".gitignore").write_text("ignored.py\n")
    add(repository, "ignored.py", 501)
    assert check(repository) == (0, "")
