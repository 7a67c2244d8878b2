"""Backup and restore as docs/operations.md says it, while runs are started and executed."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from db.rollups import check
from domain.enums import RunStatus
from service.commands.backup import backup
from service.settings import Settings
from tests.conftest import Dialect
from tests.operations.actions import hold_steps, release_steps
from tests.operations.harness import serving
from tests.support.app import PATIENCE
from tests.support.databases.binaries import find_binaries
from tests.support.query import query

RUNS = 30
"""Runs that are started before the backup begins. More are started until it is complete."""
QUESTIONS = "query($id: ID!) { flowRun(id: $id) { pendingInputs { id } } }"


def run(*command: str | Path) -> None:
    """Runs a command of the documentation."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_backup(url: str, file: Path) -> Result:
    """Runs `python -m service backup`."""
    return CliRunner().invoke(backup, [str(file)], obj=Settings(database_url=url))


def programs() -> Path:
    """The folder of pg_dump and pg_restore."""
    binaries = find_binaries()
    if not (binaries / "pg_dump").exists():
        pytest.skip(f"{binaries} has no pg_dump")
    return binaries


async def restored(
    dialect: Dialect, url: str, folder: Path, new_database_url: Callable[[], str]
) -> tuple[Callable[[], Awaitable[None]], str]:
    """Returns what makes the backup and restores it, and the URL of the restored database."""
    if dialect == "sqlite":
        file = folder / "backup.db"

        async def copy() -> None:
            done = await asyncio.to_thread(run_backup, url, file)
            assert done.exit_code == 0, done.output

        return copy, f"sqlite+aiosqlite:///{file}"
    target, binaries, dump = new_database_url(), programs(), folder / "backup.dump"
    await query(target, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    async def dump_and_restore() -> None:
        plain, plain_target = url.replace("+asyncpg", ""), target.replace("+asyncpg", "")
        await asyncio.to_thread(run, binaries / "pg_dump", "--format=custom", f"--file={dump}", plain)
        await asyncio.to_thread(run, binaries / "pg_restore", "--no-owner", f"--dbname={plain_target}", dump)

    return dump_and_restore, target


async def test_backup_of_a_busy_service_has_every_run_and_runs_in_flight_go_on(
    dialect: Dialect, database_url: str, new_database_url: Callable[[], str], tmp_path: Path
) -> None:
    hold_steps()
    back_up, target = await restored(dialect, database_url, tmp_path, new_database_url)
    async with serving(database_url, tmp_path, with_worker=True) as api:
        quick = await api.create_flow("quick", {"name": "a", "kind": "transform", "input": "{{ run.input }}"})
        held = await api.create_flow(
            "held", {"name": "a", "kind": "python", "input": {"action": "operations.hold", "args": {}}}
        )
        asking = await api.create_flow("asking", {"name": "a", "kind": "humanInput", "input": {"title": "Go on?"}})
        in_flight, asked = await api.start(held), await api.start(asking)
        started = [await api.start(quick, input=number) for number in range(RUNS)]

        wrote = asyncio.Event()

        async def start_more() -> None:
            while True:
                started.append(await api.start(quick, input=len(started)))
                wrote.set()

        starting = asyncio.create_task(start_more())
        await api.wait_until(in_flight, [RunStatus.RUNNING])
        await api.wait_until(asked, [RunStatus.PAUSED])
        (question,) = (await api.ask(QUESTIONS, id=asked))["flowRun"]["pendingInputs"]
        before = list(started)
        await back_up()
        wrote.clear()
        await asyncio.wait_for(wrote.wait(), PATIENCE)  # the backup does not block writers
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
    release_steps()
    async with serving(target, tmp_path, with_worker=True) as api:
        assert set(before) <= set(await api.statuses())
        await api.answer(asked, question["id"])
        for run_id in [in_flight, asked, *before]:
            assert await api.wait_until(run_id) == "SUCCEEDED"
        assert await api.database.read(check.differences) == []
        if dialect == "sqlite":
            assert await query(target, "PRAGMA integrity_check") == "ok"


def test_backup_says_what_it_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("no database")
    for url, name, said in (
        ("postgresql://127.0.0.1/none", "a.db", "Use pg_dump for PostgreSQL."),
        (f"sqlite:///{tmp_path}/none.db", "a.db", f"There is no database file {tmp_path}/none.db."),
        (f"sqlite:///{tmp_path}/there.db", "there.db", f"{tmp_path}/there.db exists already."),
        (f"sqlite:///{tmp_path}/there.db", "a.db", "file is not a database"),
        (f"sqlite:///{tmp_path}/there.db", "no/folder.db", "No such file or directory"),
    ):
        done = run_backup(url, tmp_path / name)
        assert (done.exit_code, said in done.output, done.output.count("\n")) == (1, True, 1), done.output
        assert list(tmp_path.iterdir()) == [tmp_path / "there.db"]
