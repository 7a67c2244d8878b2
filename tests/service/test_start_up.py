"""Each command that cannot run ends with one sentence and exit status 1; a worker waits for a migration."""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from db.migrate import MISSING, NEWER, OLDEST, upgrade
from service import cli
from tests.support.app import PATIENCE, run_app
from tests.support.processes.commands import start, stop
from tests.support.query import query

COMMANDS = [
    ["serve"],
    ["api"],
    ["worker"],
    ["migrate"],
    ["check"],
    ["key", "list"],
    ["key", "create", "--name", "k"],
    ["key", "revoke", f"key_{'0' * 32}"],
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def sentence(url: str, *command: str, **settings: str) -> str:
    """Returns the only line that a command says, which ends with status 1. It runs in this process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNS_")}
    environment = {**kept, "FLOWRUNS_DATABASE_URL": url, "FLOWRUNS_PORT": "0", **settings}
    result = CliRunner(env=environment).invoke(cli.main, command)
    assert (result.exit_code, result.stdout) == (1, ""), (command, result.output, result.exception)
    assert result.stderr.count("\n") == 1, (command, result.stderr)
    assert result.stderr.startswith("Error: "), (command, result.stderr)
    return result.stderr


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///none.db", "file is not a database"),
        ("sqlite:///folder", "unable to open database file"),
        ("sqlite:///none.db/in/file.db", ""),
        ("sqlite:////proc/nowhere/file.db", ""),
        ("sqlite://", "must name a file"),
        ("mysql://u@h/x", "must begin with"),
        ("postgres://u:secret@127.0.0.1:9/x", "127.0.0.1:9/x cannot be reached"),
        ("postgres://u:secret@127.0.0.1:9,127.0.0.1:10/x", "cannot be reached"),
        ("postgres://u:secret@nowhere.invalid/x", "nowhere.invalid/x cannot be reached"),
        ("postgres:///x?host=/nowhere", "cannot be reached"),
    ],
)
def test_database_that_cannot_be_reached_is_reported_in_a_sentence(url: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "none.db").write_text("hello\n")
    (tmp_path / "folder").mkdir()
    for command in COMMANDS:
        said = sentence(url, *command)
        assert reason in said
        assert "secret" not in said


@pytest.mark.parametrize("dialect", ["postgresql"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"database": "nowhere"}, "Create the database"), ({"username": "nobody"}, "Correct the role")],
)
def test_wrong_name_and_role_are_reported_in_a_sentence(
    database_url: str, changes: Mapping[str, str], reason: str
) -> None:
    url = make_url(database_url).set(**changes).render_as_string(hide_password=False)  # type: ignore[arg-type]
    for command in COMMANDS:
        assert reason in sentence(url, *command)


def test_port_in_use_is_reported_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in ("serve", "api"):
            said = sentence("sqlite:///file.db", command, FLOWRUNS_PORT=port)
            assert f"Cannot listen on 127.0.0.1, port {port}" in said
        # Nothing was created whose secret would be lost.
        assert not Path("admin.key").exists()


def test_host_that_is_unknown_is_reported_in_a_sentence() -> None:
    assert "Cannot listen on nowhere.invalid" in sentence("sqlite:///file.db", "serve", FLOWRUNS_HOST="nowhere.invalid")


def test_newer_database_is_reported_in_a_sentence(database_url: str) -> None:
    newest = [f"UPDATE {name} SET version_num = '9999'" for name in ("alembic_version", OLDEST)]
    asyncio.run(query(database_url, *newest))
    for command in COMMANDS:
        if command != ["worker"]:
            assert NEWER in sentence(database_url, *command)


async def test_missing_migration_is_reported_by_api_and_readyz(database_url: str) -> None:
    async with run_app(database_url, with_worker=False) as app:
        await query(database_url, "UPDATE alembic_version SET version_num = '0001'")
        answer = await app.http.get("/readyz")
        assert (answer.status_code, answer.text.strip()) == (503, MISSING)
        assert MISSING in await asyncio.to_thread(sentence, database_url, "api")


async def test_worker_waits_for_the_migration_without_a_traceback(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/file.db"
    environment = {**os.environ, "FLOWRUNS_DATABASE_URL": url, "FLOWRUNS_LOG_FORMAT": "json"}
    process = await start(environment, "worker")
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        assert json.loads(line)["reason"] == MISSING
        await asyncio.to_thread(upgrade, url)
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        assert "database migrated, worker starts" in json.loads(line)["message"]
    finally:
        await stop(process)
    assert process.returncode == 0
