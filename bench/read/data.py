"""The data set: one project, its flows, and a number of runs with steps; the same rows on both databases.

Of a thousand runs, one is paused, a hundred have failed and twenty were stopped; of the older half, one in forty is
archived. Tags, metadata and error messages have common, rare and unknown values. Runs are created one minute apart, so
that time ranges of every size exist. The newest runs, which pages show, have step results.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import Table, insert, make_url

from db.assembly import open_database
from db.core import sqlite
from db.models import Flow, FlowRun, FlowVersion, Project, StepResult
from db.models.types import table
from db.search import switch
from domain.enums import Environment, RunStatus, StepStatus, TriggerMethod
from engine.worker.maintenance import keep_counts

FLOWS = 20
STEPS = ("fetch", "price", "charge")
WITH_STEPS = 20_000
"""Number of runs, the newest, that have step results."""
NEWEST = datetime(2026, 11, 20, tzinfo=UTC)
"""Creation time of the newest run."""
PROJECT_ID = UUID(int=(7 << 76) | (8 << 60) | 1)
RARE_TEXT = "connection 4711 reset by peer"
"""Error message of one run in 50,000."""
_BATCH = 10_000
"""Rows in one statement."""
_SEARCH_BATCH = 5_000
"""Runs whose texts are added to the search in one transaction."""

Row = dict[str, Any]


def flow_id(number: int) -> UUID:
    """Returns the ID of a flow, which is also the ID of its version."""
    return UUID(int=(7 << 76) | (8 << 60) | (256 + number))


def run_id(number: int, count: int) -> UUID:
    """Returns the ID of run `number` of `count`, a UUIDv7: its first 48 bits are the creation time in milliseconds."""
    created = NEWEST - timedelta(minutes=count - number)
    return UUID(int=(int(created.timestamp() * 1000) << 80) | (7 << 76) | (8 << 60) | number)


def rows(count: int) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Yields the rows of each table, for `count` runs."""
    yield table(Project), iter([{"id": PROJECT_ID, "name": "bench", "retry_limit": 10, "created_at": NEWEST}])
    yield table(Flow), map(_flow, range(FLOWS))
    yield table(FlowVersion), map(_version, range(FLOWS))
    yield table(FlowRun), (_run(number, count) for number in range(1, count + 1))
    with_steps = range(max(1, count + 1 - WITH_STEPS), count + 1)
    yield table(StepResult), (step for number in with_steps for step in _steps(number, count))


def _flow(number: int) -> Row:
    own = {"id": flow_id(number), "project_id": PROJECT_ID, "name": f"flow {number}", "enabled": True}
    return {**own, "published_version_id": flow_id(number), "created_at": NEWEST, "updated_at": NEWEST}


def _version(number: int) -> Row:
    own = {"id": flow_id(number), "project_id": PROJECT_ID, "flow_id": flow_id(number), "number": 1}
    return {**own, "step_count": len(STEPS), "definition": "{}", "created_at": NEWEST}


def _status(number: int) -> RunStatus:
    if number % 1_000 == 1:
        return RunStatus.PAUSED
    if number % 10 == 3:
        return RunStatus.FAILED
    return RunStatus.STOPPED if number % 50 == 7 else RunStatus.SUCCEEDED


def _run(number: int, count: int) -> Row:
    key, status = run_id(number, count), _status(number)
    created = NEWEST - timedelta(minutes=count - number)
    started = created + timedelta(milliseconds=20 + number % 700)
    duration = None if status is RunStatus.PAUSED else 50 + number * 7919 % 90_000
    failed = status is RunStatus.FAILED
    message = RARE_TEXT if number % 50_000 == 3 else f"The request answered {500 + number % 4}"
    return {
        "id": key,
        "project_id": PROJECT_ID,
        "flow_id": flow_id(number % FLOWS),
        "flow_version_id": flow_id(number % FLOWS),
        "status": status,
        "environment": Environment.TESTING if number % 20 == 0 else Environment.PRODUCTION,
        "trigger_method": TriggerMethod.API if number % 3 else TriggerMethod.SCHEDULE,
        "created_at": created,
        "started_at": started,
        "finished_at": None if duration is None else started + timedelta(milliseconds=duration),
        "updated_at": started,
        "archived_at": NEWEST if number <= count // 2 and number % 40 == 9 else None,
        "duration_ms": duration,
        "root_run_id": key,
        "parent_run_id": run_id(number - 1, count) if number % 500 == 11 else None,
        "retry_of_id": run_id(number - 10, count) if number % 1_000 == 43 else None,
        "fail_parent_on_failure": False,
        "attempt": 1,
        "interruptions": 0,
        "failed_step_name": "charge" if failed else None,
        "error_code": "HTTP_STATUS" if failed else None,
        "error_message": message if failed else None,
        "error_fingerprint": f"{number % 4:016x}" if failed else None,
        "external_id": f"order-{number}",
        "tags": [f"team-{number % 5}", f"build-{number // 1_000}"],
        "metadata": f'{{"customer": {number % 5_000}, "region": "eu-{number % 3}"}}',
        "input": f'{{"order": {number}, "lines": [1, 2, 3]}}',
        "output": f'{{"total": {number % 977}}}' if status is RunStatus.SUCCEEDED else None,
    }


def _steps(number: int, count: int) -> Iterator[Row]:
    failed = _status(number) is RunStatus.FAILED
    started = NEWEST - timedelta(minutes=count - number)
    for position, name in enumerate(STEPS):
        broken = failed and name == STEPS[-1]
        yield {
            "run_id": run_id(number, count),
            "position": position,
            "name": name,
            "kind": "http",
            "status": StepStatus.FAILED if broken else StepStatus.SUCCEEDED,
            "attempts_count": 1,
            "started_at": started,
            "finished_at": started + timedelta(milliseconds=40 + number % 90),
            "duration_ms": 40 + number % 90,
            "input": f'{{"order": {number}}}',
            "output": None if broken else f'{{"step": {position}}}',
            "error": '{"code": "HTTP_STATUS", "message": "The request answered 503"}' if broken else None,
        }


async def fill(url: str, count: int) -> None:
    """Writes the data set into an empty database at the newest schema.

    Its runs are counted and can be searched, as if workers had had the time for it, and its statistics are updated.
    """
    parsed = make_url(url)
    dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        _fill_sqlite(str(parsed.database), count)
    else:
        await _fill_postgresql(dsn, count)
    database = open_database(url)
    await keep_counts(database)
    await database.write(switch.switch_on)
    while await database.write(switch.fill, _SEARCH_BATCH):
        pass
    await database.close()
    if is_sqlite:
        await asyncio.to_thread(_analyze_sqlite, str(parsed.database))
    else:
        connection = await asyncpg.connect(dsn)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.close()


def _fill_sqlite(path: str, count: int) -> None:
    engine = sqlite.writing_engine(make_url(f"sqlite:///{path}"))
    with engine.begin() as conn:
        for target, values in rows(count):
            while batch := list(islice(values, _BATCH)):
                conn.execute(insert(target), batch)
    engine.dispose()


def _analyze_sqlite(path: str) -> None:
    engine = sqlite.writing_engine(make_url(f"sqlite:///{path}"))
    with engine.begin() as conn:
        conn.exec_driver_sql("ANALYZE")
    engine.dispose()


async def _fill_postgresql(dsn: str, count: int) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        # COPY is binary: the version byte of jsonb, then its text.
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", format="binary", encoder=lambda text: b"\x01" + text.encode(), decoder=bytes
        )
        for target, values in rows(count):
            while batch := list(islice(values, _BATCH)):
                records = [tuple(row.values()) for row in batch]
                await connection.copy_records_to_table(target.name, columns=list(batch[0]), records=records)
    finally:
        await connection.close()
