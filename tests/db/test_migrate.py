import asyncio
import re
import sqlite3
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Connection, column, insert, inspect, select, text
from sqlalchemy import table as sql_table
from sqlalchemy.ext.asyncio import create_async_engine

from db import migrate, projects, text_indexes
from db.assembly import open_database
from db.core.database import Database
from db.models import FlowRun, Project, metadata
from db.models.types import table
from db.narrowing import narrow
from db.queue import due
from db.runs import reads as run_reads
from domain import ids, json_codec
from domain.runs.metadata_condition import MetadataCondition
from domain.runs.run_filter import RunFilter
from domain.text import fold_column
from tests.conftest import Dialect
from tests.support import factory
from tests.support.clock import START
from tests.support.databases.old_schema import open_at_old_schema
from tests.support.query import query

POSTGRESQL_CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid), a.attcollation
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY 1, 2""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "storage": """
        SELECT relname, relkind, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL ORDER BY 1""",
    "triggers": """
        SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), p.prosrc FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by FROM pg_sequences
        WHERE schemaname = 'public' ORDER BY 1""",
}
SQLITE_CATALOG = {"schema": "SELECT type, tbl_name, name, sql FROM sqlite_schema ORDER BY 1, 2, 3"}


def catalog(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Returns the schema from the catalog of the database, without the tables of libraries."""
    queries = SQLITE_CATALOG if conn.dialect.name == "sqlite" else POSTGRESQL_CATALOG
    return {
        part: [normal(row) for row in conn.execute(text(query)) if not any(_is_foreign(name) for name in row[:3])]
        for part, query in queries.items()
    }


def _is_foreign(name: Any) -> bool:
    """Whether a table or an index is not declared by the models: it is a library's, or of one database alone."""
    made_apart = (
        "run_error_text",
        "run_term",
        "unindexed_run",
        "run_metadata",
        "ix_run_metadata_value",
        "sqlite_stat",
    )
    return str(name).startswith(("alembic_version", "pgqueuer", "ix_ticket_order", *made_apart))


def normal(row: Any) -> tuple[Any, ...]:
    """Returns the row without white space and quotes, as SQLite keeps statements, and without the order of columns.

    A column that a migration adds is the last one of its table, and comes after the constraints.
    """
    return tuple(_without_order(value) if isinstance(value, str) else value for value in row)


def _without_order(statement: str) -> str:
    statement = re.sub(r"\s+", " ", statement).replace(" )", ")").replace('"', "")
    if not statement.startswith("CREATE TABLE"):
        return statement
    head, _, rest = statement.partition("(")
    body, _, options = rest.rpartition(")")
    return f"{head}({sorted(re.split(r',(?![^()]*[)])', body.replace(', ', ',').replace('( ', '(').strip()))}){options}"


@pytest.fixture
async def empty_url(new_database_url: Callable[[], str], dialect: Dialect, tmp_path: Path) -> str:
    """A database without any table; on SQLite not even the file."""
    if dialect == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'not' / 'yet' / 'there.db'}"
    url = new_database_url()
    await query(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return url


async def create_all(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
    await engine.dispose()


async def catalog_at(url: str) -> dict[str, list[tuple[Any, ...]]]:
    database = open_database(url)
    found = await database.read(catalog)
    await database.close()
    return found


async def test_migrations_create_the_schema_of_the_models(
    empty_url: str, database: Database, dialect: Dialect, tmp_path: Path
) -> None:
    made_at = empty_url.replace("not/yet/", "") if dialect == "sqlite" else empty_url
    await create_all(made_at)
    by_models, by_migrations = await catalog_at(made_at), await database.read(catalog)
    for part, rows in by_models.items():
        assert rows == by_migrations[part]
        assert rows


async def test_the_catalogs_compared_hold_every_table_and_index(database: Database) -> None:
    reported = str(await database.read(catalog))
    on_one_alone = {
        "sqlite": {"ix_run_tags", "ix_run_metadata"},
        "postgresql": {"ix_run_archived", "ix_run_rollup_empty"},
    }
    indexes = {index.name for each in metadata.tables.values() for index in each.indexes}
    for name in {*metadata.tables, *indexes} - on_one_alone[database.dialect]:
        assert f"'{name}'" in reported


async def test_an_upgrade_makes_the_file_and_its_folders(empty_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_url)
    assert await query(empty_url, "SELECT count(*) FROM flow_run") == 0


def test_only_the_owner_can_read_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    migrate.upgrade(f"sqlite+aiosqlite:///{file}")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_empty_tables_do_not_count_as_empty_for_the_planner(database_url: str, database: Database) -> None:
    unknown = "SELECT reltuples FROM pg_class WHERE oid = '{}'::regclass"
    assert {await query(database_url, unknown.format(name)) for name in ("flow_run", "step_result")} == {-1}
    assert await query(database_url, unknown.format("run_rollup_state")) == 1


async def test_a_second_upgrade_changes_nothing(database_url: str, database: Database) -> None:
    await database.write(projects.create, "kept")
    before = await database.read(catalog)
    await asyncio.to_thread(migrate.upgrade, database_url)
    assert await database.read(catalog) == before
    assert await database.read(projects.names) == ["kept"]
    assert await query(database_url, "SELECT count(*) FROM alembic_version") == 1


STARTER = """
import sys
from db.migrate import upgrade
print("ready", flush=True)
sys.stdin.readline()
upgrade(sys.argv[1])
"""


async def started(url: str) -> asyncio.subprocess.Process:
    """A process that is about to upgrade the database at `url`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, url, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_processes_that_upgrade_at_once_do_it_once(empty_url: str) -> None:
    processes = await asyncio.gather(*(started(empty_url) for _ in range(2)))
    ends = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, ends, strict=True)] == [
        (0, b"")
    ] * 2
    assert await query(empty_url, "SELECT count(*) FROM alembic_version") == 1


class TestBeingCurrent:
    async def test_a_migrated_database_is(self, database: Database) -> None:
        assert await database.read(migrate.is_current)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE alembic_version SET version_num = '0000'",
            "INSERT INTO alembic_version VALUES ('9999')",
            "DELETE FROM alembic_version",
            "DROP TABLE alembic_version",
        ],
    )
    async def test_database_of_another_revision_is_not_current(
        self, database_url: str, database: Database, statement: str
    ) -> None:
        await query(database_url, f"UPDATE {migrate.OLDEST} SET version_num = '9999'", statement)
        assert not await database.read(migrate.is_current)

    async def test_an_empty_database_is_not(self, empty_url: str) -> None:
        Path(empty_url.partition("///")[2] or "/").parent.mkdir(parents=True, exist_ok=True)
        database = open_database(empty_url)
        assert not await database.read(migrate.is_current)
        await database.close()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_runs_of_before_have_terms_of_empty_values(database_url: str, database: Database) -> None:
    published = await database.write(factory.make_project_with_flow)
    documents: Sequence[dict[str, Any]] = ({"a": {}}, {"a": []}, {"b": "{}"}, {})
    rows = [{"metadata": json_codec.encode(each, limit=100, what="")} for each in documents]
    runs = await database.write(factory.make_runs, published, rows)
    await query(
        database_url,
        "DELETE FROM run_term WHERE term LIKE '%{}' OR term LIKE '%[]'",
        *(f"ALTER TABLE endpoint DROP COLUMN {name}" for name in ("url_key_id", "url_sealed")),
        "ALTER TABLE webhook DROP COLUMN calls_per_minute",
        "UPDATE alembic_version SET version_num = '0030'",
    )
    await asyncio.to_thread(migrate.upgrade, database_url)
    where = RunFilter(
        project_ids=(published.project_id,), metadata_conditions=(MetadataCondition(path=("a",), exists=True),)
    )
    narrowed = await database.read(narrow.narrow, where)
    assert set(narrowed.ids or ()) == set(runs[:2])


async def test_a_failed_upgrade_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_half_way(conn: Connection) -> None:
        conn.execute(text("CREATE TABLE half (value INTEGER)"))
        raise RuntimeError("half-way")

    monkeypatch.setattr(migrate, "_run", fail_half_way)
    with pytest.raises(RuntimeError, match="half-way"):
        await asyncio.to_thread(migrate.upgrade, empty_url)
    database = open_database(empty_url)
    assert "half" not in await database.read(lambda conn: inspect(conn).get_table_names())
    await database.close()


# From the revision before the one queue

_WAITING: dict[str, dict[str, Any]] = {
    "new": {"status": "QUEUED", "due_at": 0},
    "retried by hand": {"status": "QUEUED", "due_at": 0, "trigger_method": "RETRY"},
    "retried in bulk": {"status": "QUEUED", "due_at": 0, "trigger_method": "RETRY", "retry_operation_id": "op"},
    "leased": {"status": "RUNNING", "due_at": 60, "started_at": 0, "lease_token": "token"},
    "snoozed": {"status": "RUNNING", "due_at": 30, "started_at": 0},
    "asking": {"status": "PAUSED", "due_at": None, "started_at": 0},
    "delayed": {"status": "PAUSED", "due_at": 30, "started_at": 0},
    "blocked": {"status": "QUEUED", "due_at": None, "held_at": 0, "held_by": "flow"},
    "ended": {"status": "SUCCEEDED", "due_at": None, "started_at": 0, "finished_at": 1},
}
"""Runs of a database of revision 0007; times are in seconds from the start."""


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else START + timedelta(seconds=seconds)


def _fill_old(conn: Connection) -> None:
    """Write runs, a wait queue, an outcome and the low watermark as revision 0007 has them."""
    model = table(FlowRun).c
    renamed = {"held_at": model.blocked_since, "held_by": model.blocked_by, "epoch": model.attempt}
    keys = ("retry_operation_id", "lease_token")
    instants = ("due_at", "held_at", "started_at", "finished_at", "created_at", "updated_at")
    for name, given in _WAITING.items():
        values: dict[str, Any] = {
            **{"environment": "test", "trigger_method": "API", "attempt": 1, "interruptions": 0, "epoch": 3},
            **{"fail_parent_on_failure": False, "created_at": 0, "updated_at": 0, "input": "{}", "external_id": name},
            **{"tags": [], "metadata": "{}", "depth": 0, "ran_ms": 0},
            **given,
        }
        values |= {key: KEYS[key] for key in ("project_id", "flow_id", "flow_version_id")}
        values |= {key: KEYS[key] for key in keys if key in given}
        values |= {"held_by": KEYS["flow_id"]} if "held_by" in given else {}
        values |= {key: _instant(values[key]) for key in instants if key in values}
        values["id"] = values["root_run_id"] = ids.new_uuid()
        columns = [column(key, (renamed[key] if key in renamed else model[key]).type) for key in values]
        conn.execute(insert(sql_table("flow_run", *columns)).values(values))
    key_type = model.id.type
    outcome = sql_table(
        "bulk_outcome",
        column("operation_id", key_type),
        column("run_id", key_type),
        column("result"),
        column("foretold"),
    )
    planned = {"operation_id": KEYS["retry_operation_id"], "run_id": KEYS["flow_id"], "result": "NONE", "foretold": "X"}
    conn.execute(insert(outcome).values(planned))
    conn.execute(text("UPDATE event_horizon SET seq = 41"))


KEYS = {
    name: ids.new_uuid()
    for name in ("project_id", "flow_id", "flow_version_id", "retry_operation_id", "lease_token", "held_by")
}


async def test_waiting_runs_of_before_the_one_queue_keep_waiting(
    empty_url: str, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrate, "_TARGET", "0007")
        before.setattr(text_indexes, "ensure", lambda _: False)
        await asyncio.to_thread(migrate.upgrade, empty_url)
    database = open_at_old_schema(empty_url)
    if dialect == "postgresql":
        # What 0003 once installed.
        await query(
            empty_url,
            "CREATE TYPE pgqueuer_status AS ENUM ('queued', 'picked')",
            "CREATE TABLE pgqueuer (id SERIAL PRIMARY KEY, status pgqueuer_status NOT NULL)",
            "CREATE TABLE pgqueuer_log (id BIGSERIAL PRIMARY KEY)",
        )
    await database.write(lambda uow: _fill_old(uow.conn))
    await database.close()
    await asyncio.to_thread(migrate.upgrade, empty_url)
    database = open_database(empty_url)
    run = table(FlowRun)
    rows = {row.external_id: row for row in await database.read(lambda conn: conn.execute(select(run)).all())}
    assert {name: row.priority for name, row in rows.items()} == {
        **{"new": due.NEW, "retried by hand": due.INTERACTIVE, "retried in bulk": due.NEW, "blocked": due.NEW},
        **{
            "leased": due.STARTED_RUN,
            "snoozed": due.STARTED_RUN,
            "asking": due.STARTED_RUN,
            "delayed": due.STARTED_RUN,
        },
        "ended": due.NEW,
    }
    for name, given in _WAITING.items():
        assert (rows[name].status, rows[name].due_at) == (given["status"], _instant(given["due_at"])), name
    assert (rows["blocked"].blocked_since, rows["blocked"].blocked_by) == (START, KEYS["flow_id"])
    assert rows["leased"].lease_token == KEYS["lease_token"]
    assert await query(empty_url, "SELECT planned_reason FROM bulk_outcome") == "X"
    assert await query(empty_url, "SELECT seq FROM event_low_watermark") == 41
    names = await database.read(lambda conn: inspect(conn).get_table_names())
    assert not [name for name in names if name.startswith("pgqueuer") or name == "event_horizon"]
    await database.close()


async def test_names_of_keys_become_actors(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrate, "_TARGET", "0013")
        before.setattr(text_indexes, "ensure", lambda _: False)
        await asyncio.to_thread(migrate.upgrade, empty_url)
    database = open_at_old_schema(empty_url)
    project_id = (await database.write(projects.create, "p")).hex
    await database.close()
    await query(
        empty_url,
        f"""INSERT INTO secret (id, project_id, name, key_id, sealed, created_at, changed_at, changed_by)
            VALUES ('{project_id}', '{project_id}', 'TOKEN', 'k', '', '2026-01-01', '2026-01-01', 'the "first"')""",
    )
    await asyncio.to_thread(migrate.upgrade, empty_url)
    actor = json_codec.decode(await query(empty_url, "SELECT changed_by FROM secret"))
    assert actor == {"kind": "API_KEY", "id": None, "name": 'the "first"'}


class TestSearch:
    """The migration that adds folded texts and terms, of a database with runs."""

    RUNS: ClassVar[dict[str, tuple[str, str | None]]] = {
        "Café CLOSED": ("café closed", None),
        "СБОЙ Straße": ("сбой strasse", "сбой strasse"),
        "Plain 4711": ("plain 4711", None),
    }
    """Error messages, the texts that find them, and the stored folded forms."""

    @pytest.fixture
    async def old(self, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
        """A database at the revision before, with a failed run for each message."""
        with monkeypatch.context() as patched:
            patched.setattr(migrate, "_TARGET", "0008")
            patched.setattr(text_indexes, "ensure", lambda _: False)
            await asyncio.to_thread(migrate.upgrade, empty_url)
        database = open_at_old_schema(empty_url)
        await database.write(self._insert)
        await database.close()
        return empty_url

    def _insert(self, uow: Any) -> None:
        runs = table(FlowRun)
        existing = {each["name"] for each in inspect(uow.conn).get_columns("flow_run")}
        columns = [each for each in runs.c if each.name in existing]
        source = sql_table("flow_run", *(column(each.name, each.type) for each in columns))
        home = ids.new_uuid()
        project = sql_table(
            "project",
            *(column(each, table(Project).c[each].type) for each in ("id", "created_at")),
            column("name"),
            column("retry_limit"),
        )
        uow.conn.execute(insert(project), {"id": home, "created_at": START, "name": "home", "retry_limit": 10})
        for message in self.RUNS:
            key = ids.new_uuid()
            values: dict[str, Any] = dict.fromkeys(each.name for each in columns)
            values |= {
                **{each.name: key for each in columns if each.name in ("id", "root_run_id")},
                "project_id": home,
                **dict.fromkeys(("flow_id", "flow_version_id"), key),
                **dict.fromkeys(("created_at", "updated_at"), START),
                **dict.fromkeys(("depth", "priority", "ran_ms", "interruptions"), 0),
                "started_at": START - timedelta(seconds=5),
                "finished_at": START - timedelta(seconds=2),
                "status": "FAILED",
                "environment": "PRODUCTION",
                "trigger_method": "API",
                "fail_parent_on_failure": False,
                "attempt": 1,
                "tags": ["night"],
                "metadata": '{"order": 7}',
                "input": "{}",
                "error_message": message,
            }
            uow.conn.execute(insert(source), values)

    async def test_existing_runs_are_found_by_folded_texts_tags_and_metadata(self, old: str) -> None:
        await asyncio.to_thread(migrate.upgrade, old)
        database = open_database(old)
        for where in (
            *(RunFilter(error_contains=part.upper()) for part, _ in self.RUNS.values()),
            RunFilter(tags=["night"]),
            RunFilter(metadata='{"order": 7.0}'),
        ):
            expected = 1 if where.error_contains else len(self.RUNS)
            assert await database.read(run_reads.count, where, None) == expected
        stored = await query(old, "SELECT count(*) FROM flow_run WHERE error_folded IS NOT NULL")
        assert stored == sum(1 for message in self.RUNS if fold_column(message) is not None)
        await database.close()

    async def test_no_run_starts_before_its_creation_or_ends_before_its_start(self, old: str) -> None:
        await asyncio.to_thread(migrate.upgrade, old)
        assert await query(old, "SELECT count(*) FROM flow_run WHERE started_at < created_at") == 0
        assert await query(old, "SELECT count(*) FROM flow_run WHERE finished_at < started_at") == 0

    @pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
    async def test_database_without_index_of_texts_answers_the_same_and_gets_it_later(
        self, old: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            missing = ("CREATE EXTENSION no_such_extension",)
            patched.setattr(text_indexes, "_POSTGRESQL", missing)
            await asyncio.to_thread(migrate.upgrade, old)
        database = open_database(old)
        where = RunFilter(error_contains="closed")
        assert not await database.read(text_indexes.exists)
        assert await database.read(run_reads.count, where, None) == 1
        await asyncio.to_thread(migrate.upgrade, old)
        assert await database.read(text_indexes.exists)
        assert await database.read(run_reads.count, where, None) == 1
        await database.close()


def test_full_disk_is_named_whatever_sqlite_calls_it() -> None:
    for name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = name
        assert "no space" in migrate.first_line(error)
    assert migrate.first_line(sqlite3.OperationalError("disk I/O error")) == "disk I/O error"
