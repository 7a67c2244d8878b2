"""SQLite's tables of terms and of error texts: what triggers note is indexed in the same unit of work."""

import re
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import Connection, Insert, Update, insert, update

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun
from db.models.types import table
from db.narrowing import narrow
from db.runs import reads, transitions
from domain.enums import RunStatus
from domain.runs.run_filter import RunFilter
from tests.conftest import Dialect
from tests.support import factory

_runs = table(FlowRun)
TAGGED = RunFilter(tags=("vip",))
REFUSED = RunFilter(error_contains="refused")


def noted(conn: Connection) -> int:
    """Returns the number of runs that are not indexed."""
    count: int = conn.exec_driver_sql("SELECT count(*) FROM unindexed_run").scalar_one()
    return count


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_runs_of_other_programs_are_indexed_with_the_next_unit_of_work(
    database: Database, database_url: str
) -> None:
    published = await database.write(factory.make_project_with_flow)
    run, other = await database.write(factory.make_runs, published, [{}, {"tags": ["old"]}])
    with closing(sqlite3.connect(database_url.partition("///")[2])) as program, program:
        columns = [name for _, name, *_ in program.execute("PRAGMA table_info(flow_run)")]
        changed = {"id": "'" + "f" * 32 + "'", "tags": """'["vip"]'""", "error_message": "'Refused'"}
        values = ", ".join(changed.get(name, name) for name in columns)
        program.execute(f"INSERT INTO flow_run SELECT {values} FROM flow_run WHERE id = ?", (run.hex,))
        program.execute("UPDATE flow_run SET error_message = 'It refused' WHERE id = ?", (other.hex,))
    assert await database.read(noted) == 3
    await database.write(lambda _: None)
    assert await database.read(noted) == 0
    assert [key.hex for key in (await database.read(narrow.narrow, TAGGED)).ids or ()] == ["f" * 32]
    assert {key.hex for key in (await database.read(narrow.narrow, REFUSED)).ids or ()} == {"f" * 32, other.hex}


async def test_a_changed_error_of_a_new_run_is_found_by_its_last_text(database: Database) -> None:
    published = await database.write(factory.make_project_with_flow)

    def make(uow: UnitOfWork) -> None:
        failed = {"status": RunStatus.FAILED, "error_message": "Refused", "tags": ["first"]}
        (run,) = factory.make_runs(uow, published, [failed])
        changed = {"error_message": "Lost", "tags": ["vip"]}
        uow.conn.execute(update(_runs).where(_runs.c.id == run).values(changed))

    await database.write(make)
    expected = {REFUSED: 0, RunFilter(tags=("first",)): 0, RunFilter(error_contains="lost"): 1, TAGGED: 1}
    assert {where: await database.read(reads.count, where, None) for where in expected} == expected


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("statement", [insert(_runs).prefix_with("OR FAIL"), transitions._FINISH.one, transitions._END])
async def test_statements_of_runs_call_no_function(
    database: Database, dialect: Dialect, statement: Insert | Update
) -> None:
    """A function, also one of a trigger that does not fire, makes SQLite copy pages: see `db.runs.indexes`."""

    def opcodes(conn: Connection) -> set[str]:
        text = re.sub(r"__\[\w+\]", "?", str(statement.compile(conn)))
        return {row[1] for row in conn.exec_driver_sql(f"EXPLAIN {text}", (None,) * text.count("?"))}

    found = await database.read(opcodes)
    assert "Program" in found  # The triggers are part of it.
    assert not found & {"Function", "PureFunc", "VUpdate"}
