"""The pages are built once, before the first test that opens one."""

import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory) -> None:
    # The lock lets one of several test processes build; the others then find the result.
    with FileLock(tmp_path_factory.getbasetemp().parent / "build-web.lock"):
        subprocess.run([ROOT / "scripts" / "build-web", "test"], check=True)
