"""The search of inputs, outputs and logs: what is found, on which states of its switch, and by which index."""

import sys
import unicodedata
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Connection, Text, bindparam, func, select, text, update

from db import retention
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, StepResult
from db.models.types import table
from db.narrowing import narrow
from db.narrowing.candidates import FEW
from db.removal import deletion, erasure
from db.runs import families, reads
from db.runs.filter import matches
from db.runs.output.logs import Line, append
from db.search import switch
from db.sql.keyset import Page
from domain.enums import RunStatus
from domain.errors import SearchOffError
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from domain.runs.run_log import LogLevel
from domain.text import fold, searched_json
from domain.time import clock
from engine.worker import maintenance
from tests.support import factory
from tests.support.databases.overlap import overlapping
from tests.support.factory import PublishedFlow

_RUNS = table(FlowRun)
_STEPS = table(StepResult)
VALUES = [
    "Order 4711",
    "100%_sure",
    'says "hello"',
    "C:\\new\\table",
    "line one\nline two",
    "tab\there",
    "bell\x07here",
    "STRASSE und Straße",
    "Σίσυφος ΣΊΣΥΦΟΣ",
    "Привет, МИР",
    "İstanbul",
    "ﬁle",
    "e\u0301te\u0301",
    "日本語テキスト",
    "\U00010400 Deseret",
    "it's; DROP TABLE--",
    "a/b",
    "\u007f\u2028end",
]
NEEDLES = {
    "order 4711": "Order 4711",
    "0%_S": "100%_sure",
    "0_%": None,
    'SAYS "HEL': 'says "hello"',
    "c:\\NEW\\t": "C:\\new\\table",
    "one\nLINE": "line one\nline two",
    "tab\th": "tab\there",
    "LL\x07H": "bell\x07here",
    "und strasse": "STRASSE und Straße",
    "Straße UND": "STRASSE und Straße",
    "ΣΊΣΥΦΟσ": "Σίσυφος ΣΊΣΥΦΟΣ",
    "привет, мир": "Привет, МИР",
    "i\u0307stanbul": "İstanbul",
    "FILE": "ﬁle",
    "ÉTÉ": "e\u0301te\u0301",
    "本語テ": "日本語テキスト",
    "\U00010428 dese": "\U00010400 Deseret",
    "'s; drop": "it's; DROP TABLE--",
    "A/B": "a/b",
    "\u2028END": "\u007f\u2028end",
    # A backslash and a letter are no line break.
    "nline": None,
    "nowhere": None,
}


@pytest.fixture
async def published(database: Database) -> PublishedFlow:
    await database.write(switch.switch_on)
    return await database.write(factory.make_project_with_flow)


def json_of(value: object) -> str:
    return orjson.dumps({"text": value}).decode()


async def found(database: Database, needle: str, **fields: Any) -> set[UUID]:
    """The runs of a list, after it is the same in all ways of reading."""
    where = RunFilter(search=needle, **fields)
    keys: set[UUID] | None = None
    for order in (RunOrder(), RunOrder(RunOrderField.STARTED_AT)):
        page = await database.read(reads.page, frozenset({"id"}), where, order, Page(1_000))
        assert keys in (None, {row.id for row in page})
        keys = {row.id for row in page}
    assert keys is not None
    assert await database.read(reads.count, where, None) == len(keys)

    def conditions(conn: Connection) -> Sequence[set[UUID]]:
        ways = (matches(where, conn.dialect.name, reads_all=reads_all) for reads_all in (False, True))
        return [set(conn.execute(select(_RUNS.c.id).where(way)).scalars()) for way in ways]

    assert await database.read(conditions) == [keys, keys]
    return keys


@pytest.mark.parametrize("column", ["input", "output"])
async def test_values_are_found_as_they_are(database: Database, published: PublishedFlow, column: str) -> None:
    rows = [{column: json_of(value)} for value in VALUES]
    runs = dict(zip(VALUES, await database.write(factory.make_runs, published, rows), strict=True))
    for needle, value in NEEDLES.items():
        assert await found(database, needle) == ({runs[value]} if value is not None else set()), needle


async def test_log_messages_are_found_as_they_are(database: Database, published: PublishedFlow) -> None:
    runs = await database.write(factory.make_runs, published, [{}] * len(VALUES))
    for run_id, message in zip(runs, VALUES, strict=True):
        await database.write(append, run_id, [Line(clock.now(), LogLevel.INFO, "a", 1, message)], 100)
    by_value = dict(zip(VALUES, runs, strict=True))
    for needle, value in NEEDLES.items():
        assert await found(database, needle) == ({by_value[value]} if value is not None else set()), needle


async def test_inputs_and_outputs_of_steps_are_found(database: Database, published: PublishedFlow) -> None:
    one, other = await database.write(factory.make_runs, published, [{}, {}])
    await database.write(factory.make_steps, one, [{"input": json_of("first")}, {"output": json_of("SECOND")}])
    await database.write(factory.make_steps, other, [{"input": json_of("second thoughts")}])
    assert await found(database, "First") == {one}
    assert await found(database, "second") == {one, other}


async def test_changed_text_is_found_and_the_old_one_is_not(database: Database, published: PublishedFlow) -> None:
    run_id = await database.write(factory.make_run, published, output=json_of("before"))
    await database.write(factory.make_steps, run_id, [{"output": json_of("step before")}])

    def change(uow: UnitOfWork) -> None:
        uow.conn.execute(update(_RUNS).values(output=json_of("after")))
        uow.conn.execute(update(_STEPS).values(output=None))

    await database.write(change)
    assert await found(database, "after") == {run_id}
    assert await found(database, "before") == set()


async def test_search_combines_with_other_fields(database: Database, published: PublishedFlow) -> None:
    foreign = await database.write(factory.make_project_with_flow, name="foreign")
    value = json_of("needle")
    one, archived = await database.write(
        factory.make_runs, published, [{"input": value}, {"input": value, "archived_at": clock.now()}]
    )
    theirs = await database.write(factory.make_run, foreign, input=value)
    without = await database.write(factory.make_run, published)
    of_project = {"project_ids": [published.project_id]}
    assert await found(database, "needle") == {one, theirs}
    assert await found(database, "needle", **of_project) == {one}
    assert await found(database, "needle", **of_project, archived=Archived.INCLUDE) == {one, archived}
    assert await found(database, "needle", ids=[one, without]) == {one}
    nested = RunFilter.part(search="needle")
    for where, expected in (
        (RunFilter(not_=nested, **of_project), [without]),  # type: ignore[arg-type]
        (RunFilter(or_=[nested, RunFilter.part(ids=[without])], **of_project), [without, one]),  # type: ignore[arg-type]
        (RunFilter(search="", project_ids=[foreign.project_id]), [theirs]),
    ):
        page = await database.read(reads.page, frozenset({"id"}), where, RunOrder(), Page(10))
        assert [row.id for row in page] == expected
        assert await database.read(reads.count, where, None) == len(expected)


async def test_common_text_is_found_in_every_page(database: Database, published: PublishedFlow) -> None:
    rows = [{"input": json_of(f"common {number}")} for number in range(FEW + 20)]
    runs = await database.write(factory.make_runs, published, rows)
    where = RunFilter(search="COMMON")
    page = await database.read(reads.page, frozenset({"id"}), where, RunOrder(), Page(10))
    assert [row.id for row in page] == sorted(runs, reverse=True)[:10]
    assert await database.read(reads.count, where, None) == len(runs)


async def test_purged_data_are_not_found(database: Database, published: PublishedFlow) -> None:
    purged, kept = await database.write(factory.make_runs, published, [{"input": json_of("input")}] * 2)
    for run_id in (purged, kept):
        await database.write(factory.make_steps, run_id, [{"output": json_of("needle")}])
        await database.write(append, run_id, [Line(clock.now(), LogLevel.INFO, "a", 1, "logged")], 10)
    await database.write(retention.purge, [purged])
    assert await found(database, "needle") == {kept}
    assert await found(database, "logged") == {kept}
    # The run itself stays.
    assert await found(database, "input") == {purged, kept}


async def test_erased_and_deleted_runs_leave_no_text(database: Database, published: PublishedFlow) -> None:
    erased, deleted = await database.write(factory.make_runs, published, [{"input": json_of("needle")}] * 2)
    for run_id in (erased, deleted):
        await database.write(factory.make_steps, run_id, [{"input": json_of("needle"), "output": json_of("needle")}])
        await database.write(append, run_id, [Line(clock.now(), LogLevel.INFO, "a", 1, "needle")], 10)
    await database.write(erasure.erase, [erased], clock.now())
    await database.write(deletion.delete_runs, [deleted], clock.now())
    assert await found(database, "needle") == set()
    left = "SELECT count(*) FROM run_text"
    assert await database.read(lambda conn: conn.exec_driver_sql(left).scalar_one()) == 0


class TestSwitch:
    async def test_search_that_is_off_is_a_typed_error(self, database: Database) -> None:
        for where in (RunFilter(search="needle"), RunFilter(or_=[RunFilter.part(search="needle")])):
            with pytest.raises(SearchOffError, match="search on"):
                await database.read(reads.page, frozenset({"id"}), where, RunOrder(), Page(1))
            with pytest.raises(SearchOffError):
                await database.read(reads.count, where, None)

    async def test_earlier_runs_are_found_once_the_search_is_filled(self, database: Database) -> None:
        published = await database.write(factory.make_project_with_flow)
        runs = await database.write(factory.make_runs, published, [{"input": json_of("needle")}] * 5)
        await database.write(factory.make_steps, runs[0], [{"input": json_of("step")}])
        assert await database.write(switch.switch_on)
        assert not await database.write(switch.switch_on)
        later = await database.write(factory.make_run, published, input=json_of("needle"))
        assert await database.write(switch.fill, 2) == 2
        with pytest.raises(SearchOffError, match="fill"):
            await database.read(reads.count, RunFilter(search="needle"), None)
        # What changes in between is not overwritten, and what was filled is not filled again.
        change = update(_RUNS).where(_RUNS.c.id == runs[4]).values(input=json_of("changed"))
        await database.write(lambda uow: uow.conn.execute(change) and None)
        assert await maintenance.fill_search(database) == 4
        assert await database.read(switch.state) == (True, True)
        assert await found(database, "needle") == {*runs[:4], later}
        assert await found(database, "step") == {runs[0]}
        assert await found(database, "changed") == {runs[4]}

    @pytest.mark.parametrize("dialect", ["postgresql"])  # SQLite has one writer
    @pytest.mark.parametrize("removal", ["erase", "delete"])
    async def test_fill_waits_for_what_removes_texts(self, database: Database, removal: str) -> None:
        published = await database.write(factory.make_project_with_flow)
        run_id = await database.write(factory.make_run, published, input=json_of("needle"), status=RunStatus.SUCCEEDED)
        await database.write(factory.make_steps, run_id, [{"input": json_of("needle"), "output": json_of("needle")}])
        await database.write(append, run_id, [Line(clock.now(), LogLevel.INFO, "a", 1, "needle")], 10)
        await database.write(switch.switch_on)

        def remove(uow: UnitOfWork) -> None:
            families.lock_runs(uow, [run_id])
            if removal == "erase":
                erasure.erase(uow, [run_id], clock.now())
            else:
                deletion.delete_runs(uow, [run_id], clock.now())

        await overlapping(database, remove, lambda uow: switch.fill(uow, 10))
        left = "SELECT count(*) FROM run_text"
        assert await database.read(lambda conn: conn.execute(text(left)).scalar_one()) == 0

    async def test_switching_off_drops_everything(self, database: Database, published: PublishedFlow) -> None:
        await database.write(factory.make_run, published, input=json_of("needle"))
        assert await database.write(switch.switch_off)
        assert not await database.write(switch.switch_off)
        left = (
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'run_text%'"
            if database.dialect == "sqlite"
            else "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'run_text%') + (SELECT count(*) FROM pg_proc"
            " WHERE proname LIKE 'run_text%' OR proname LIKE 'search_%') + (SELECT count(*) FROM pg_trigger"
            " WHERE tgname LIKE 'run_text%')"
        )
        assert await database.read(lambda conn: conn.execute(text(left)).scalar_one()) == 0
        await database.write(factory.make_run, published, input=json_of("needle"))
        assert await maintenance.fill_search(database) == 0
        await database.write(switch.switch_on)
        await maintenance.fill_search(database)
        assert len(await found(database, "needle")) == 2


async def test_index_serves_a_rare_text(database: Database, published: PublishedFlow) -> None:
    await database.write(factory.make_runs, published, [{"input": json_of(f"text {number}")} for number in range(500)])

    def plan(uow: UnitOfWork) -> str:
        conn = uow.conn
        if conn.dialect.name == "sqlite":
            explain = "EXPLAIN QUERY PLAN SELECT run_id FROM run_text WHERE id IN (SELECT rowid FROM run_text_index"
            return str(conn.exec_driver_sql(f"{explain} WHERE run_text_index MATCH '\"text 77\"')").all())
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return str(conn.exec_driver_sql("EXPLAIN SELECT run_id FROM run_text WHERE text LIKE '%text 77%'").all())

    seen = await database.write(plan)
    assert "run_text_index" in seen or "VIRTUAL TABLE INDEX" in seen
    named = await database.read(narrow.narrow, RunFilter(search="TEXT 77"))
    assert named.ids is not None
    assert len(named.ids) == 1


async def test_texts_of_named_runs_are_read_run_by_run(database: Database, published: PublishedFlow) -> None:
    """The index has named them already: a second search in it would take as long as the first."""
    texts = [{"input": json_of(f"text {number}")} for number in range(20)]
    run_ids = await database.write(factory.make_runs, published, texts)
    where = RunFilter(ids=run_ids[:15], search="text 1")
    condition = matches(where, database.dialect, reads_all=True)
    written = str(await database.read(lambda conn: condition.compile(dialect=conn.dialect)))
    assert "EXISTS" in written
    assert not {"MATCH", "LIKE"}.intersection(written.split())
    assert await database.read(reads.count, where, None) == 6


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_vacuum_keeps_the_index(database: Database, database_url: str, published: PublishedFlow) -> None:
    runs = await database.write(factory.make_runs, published, [{"input": json_of(f"text {n}")} for n in range(9)])
    await database.write(lambda uow: uow.conn.exec_driver_sql("DELETE FROM run_text WHERE id < 4") and None)
    await database.read(lambda conn: conn.exec_driver_sql("VACUUM") and None)
    for number, run_id in enumerate(runs[3:], start=3):
        assert await found(database, f"text {number}") == {run_id}


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_postgresql_folds_as_python(database: Database, published: PublishedFlow) -> None:
    letters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    # Letters that Unicode knows in both versions, and that the normal form of neither joins with the next one.
    known = [f"x{each}y" for each in letters if unicodedata.category(each) not in ("Cn", "Co")]

    def differences(conn: Connection) -> list[str]:
        wrong: list[str] = []
        for start in range(0, len(known), 500):
            part = "|".join(known[start : start + 500])
            result = conn.execute(select(func.search_fold(bindparam(None, part, Text)))).scalar_one()
            wrong += [
                mine for mine, theirs in zip(fold(part).split("|"), result.split("|"), strict=True) if mine != theirs
            ]
        return wrong

    assert await database.read(differences) == []


@pytest.mark.parametrize("value", [*VALUES, "\x01", "\\u0041", "\\\\n", "\\\n", '\\"', "\x1f\x02"])
async def test_both_databases_read_json_alike(database: Database, published: PublishedFlow, value: str) -> None:
    document = json_of(value)
    query = select(func.search_json(bindparam(None, document, Text)))
    assert await database.read(lambda conn: conn.execute(query).scalar_one()) == searched_json(document)
