"""A claim with a backlog costs as much as one without: it walks the index of due runs, and sorts nothing."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import ColumnElement, Connection, func, insert, literal, literal_column, select, text

from db.assembly import COMMIT_STEPS
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.runs import claims
from tests.db.test_plans import statements_on
from tests.support import factory
from tests.support.clock import START, FakeClock

BACKLOG = {"sqlite": 20_000, "postgresql": 100_000}
"""SQLite plans without regard to their number; PostgreSQL would sort some thousands that its statistics know not."""
LIMIT = 64
_RUNS = table(FlowRun)
_RUN = _RUNS.c
_NEW_ID = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()"}


def fill(uow: UnitOfWork) -> None:
    """Write the backlog, with the statistics of an empty table; a tenth of it is due later."""
    home = factory.make_project_with_flow(uow)
    uow.conn.execute(text("ANALYZE"))
    factory.make_run(uow, home, status="QUEUED", due_at=START)
    number, backlog = 1, BACKLOG[uow.conn.dialect.name]
    later = backlog // 10
    while number < backlog - later:
        copied = min(number, backlog - later - number)
        copy(uow, copied, START)
        number += copied
    copy(uow, later, START + timedelta(hours=1))
    assert uow.conn.execute(select(func.count()).select_from(_RUNS)).scalar_one() == backlog


def copy(uow: UnitOfWork, number: int, due_at: datetime) -> None:
    """Copy so many of the runs."""
    new: dict[str, ColumnElement[Any]] = {
        "id": literal_column(_NEW_ID[uow.conn.dialect.name]),
        "due_at": literal(due_at, _RUN.due_at.type),
    }
    copies = select(*(new.get(column.name, column) for column in _RUNS.columns)).limit(number)
    uow.conn.execute(insert(_RUNS).from_select([column.name for column in _RUNS.columns], copies))


@pytest.fixture
async def backlog(database: Database, fake_clock: FakeClock) -> Database:
    await database.write(fill)
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def claim(conn: Connection) -> tuple[str, Any]:
    """Claim runs; returns the statement that finds them, with its parameters."""
    with statements_on(conn) as statements:
        assert len(claims.claim(UnitOfWork(conn, COMMIT_STEPS), LIMIT, timedelta(seconds=15))) == LIMIT
    return statements[0]


async def test_claim_walks_the_index_of_due_runs_and_sorts_no_backlog(backlog: Database) -> None:
    def check(uow: UnitOfWork) -> None:
        conn = uow.conn
        statement, parameters = claim(conn)
        if conn.dialect.name == "sqlite":
            plan = [row.detail for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            runs = [detail for detail in plan if "flow_run" in detail]
            assert runs == ["SEARCH flow_run USING INDEX ix_run_due (priority=? AND due_at<?)"] * 3
            assert not [detail for detail in plan if "TEMP B-TREE" in detail]
            return
        explained = conn.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        scans = list(nodes(orjson.loads(explained)[0]["Plan"]))
        assert not [node for node in scans if "Sort" in node["Node Type"]]
        of_runs = [node for node in scans if node.get("Relation Name") == "flow_run"]
        assert {node.get("Index Name") for node in of_runs} == {"ix_run_due"}
        assert sum(node["Actual Rows"] for node in of_runs) <= LIMIT + 1

    await backlog.write(check)
