from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, select, text

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import RunEvent
from db.models.types import table
from db.sql.rows import AnyRow
from domain.enums import RunStatus
from domain.errors import CursorExpiredError
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import PublishedFlow

Q, R, S = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED

STATUS = event_log.NeededOfRuns(frozenset({"status"}))


def all_rows(conn: Connection) -> Sequence[AnyRow]:
    event = table(RunEvent).c
    return conn.execute(select(event.seq, event.run_id, event.kind, event.to_status).order_by(event.seq)).all()


async def test_status_changes_of_run_are_oldest_first(database: Database, published: PublishedFlow) -> None:
    one, other, none = await database.write(factory.make_runs, published, [{}, {}, {}])
    await database.write(factory.make_events, published, one, [Q, R])
    await database.write(factory.make_events, published, other, [Q])
    await database.write(factory.make_events, published, one, [S])
    found = await database.read(event_log.status_changes_by_runs, [one, other, none])
    assert {key: [(row.from_status, row.to_status) for row in rows] for key, rows in found.items()} == {
        one: [(None, "QUEUED"), ("QUEUED", "RUNNING"), (None, "SUCCEEDED")],
        other: [(None, "QUEUED")],
    }
    assert {(row.message, row.at) for row in found[other]} == {("QUEUED", START)}


async def test_status_changes_omit_events_of_other_kinds(database: Database, published: PublishedFlow) -> None:
    key = await database.write(factory.make_run, published)
    row = {
        "run_id": key,
        "project_id": published.project_id,
        "flow_id": published.flow_id,
        "kind": event_log.STEP_STATUS,
    }
    change = {"from_status": None, "to_status": "RUNNING", "message": "", "at": START}
    await database.write(event_log.append, [{**row, **change}])
    assert await database.read(event_log.status_changes_by_runs, [key]) == {}


async def test_log_position_is_never_reused(database: Database, published: PublishedFlow) -> None:
    key = await database.write(factory.make_run, published)
    await database.write(factory.make_events, published, key, [Q, R])
    last = (await database.read(all_rows))[-1].seq
    await database.write(lambda uow: uow.conn.execute(text("DELETE FROM run_event")) and None)
    await database.write(factory.make_events, published, key, [Q])
    assert (await database.read(all_rows))[0].seq > last


async def test_consecutive_pages_cover_log_without_gap(database: Database, published: PublishedFlow) -> None:
    one, other = await database.write(factory.make_runs, published, [{}, {}])
    for key in (one, other, one):
        await database.write(factory.make_events, published, key, [Q, R])
    positions = [row.seq for row in await database.read(all_rows)]
    whole, part = event_log.EVERYTHING, event_log.Scope(run_id=one, kinds=frozenset({event_log.RUN_STATUS}))
    last = positions[-1]
    page = await database.read(event_log.page, 0, last, whole, 4)
    assert ([row.seq for row in page.rows], page.end, page.is_last) == (positions[:4], positions[3], False)
    page = await database.read(event_log.page, page.end, last, whole, 4)
    assert ([row.seq for row in page.rows], page.end, page.is_last) == (positions[4:], last, True)
    page = await database.read(event_log.page, last, last, whole, 4)
    assert (len(page.rows), page.end, page.is_last) == (0, last, True)
    with pytest.raises(CursorExpiredError):
        await database.read(event_log.page, last + 1, last, whole, 4)
    page = await database.read(event_log.page, 0, last, part, 10, STATUS)
    assert [row.seq for row in page.rows] == [*positions[:2], *positions[4:]]
    assert {key: row.status for key, row in page.runs.items()} == {one: "QUEUED"}


async def test_page_is_full_however_few_events_match(database: Database, published: PublishedFlow) -> None:
    other = await database.write(factory.make_project_with_flow, "other")
    of_other = await database.write(factory.make_run, other)
    for _ in range(2):
        key = await database.write(factory.make_run, published)
        await database.write(factory.make_events, published, key, [Q])
        await database.write(factory.make_events, other, of_other, [R] * 100)
    log = await database.read(all_rows)
    own = [row.seq for row in log if row.run_id != of_other]
    scope = event_log.Scope(project_ids=(published.project_id,))
    page = await database.read(event_log.page, 0, log[-1].seq, scope, 2)
    assert ([row.seq for row in page.rows], page.end, page.is_last) == (own, own[-1], False)
    page = await database.read(event_log.page, own[-1], log[-1].seq, scope, 1)
    assert (len(page.rows), page.end, page.is_last) == (0, log[-1].seq, True)


async def test_tail_continues_at_its_last_end(database: Database, published: PublishedFlow) -> None:
    key = await database.write(factory.make_run, published)
    end = await database.read(event_log.end)
    assert end.writers == frozenset()
    await database.write(factory.make_events, published, key, [Q, R, S])
    first = await database.read(event_log.tail, end.until, None, 2, STATUS)
    assert ([row.to_status for row in first.rows], first.is_last, first.gaps) == (["QUEUED", "RUNNING"], False, None)
    assert {run_id: run.status for run_id, run in first.runs.items()} == {key: "QUEUED"}
    rest = await database.read(event_log.tail, first.end, None, 2)
    assert ([row.to_status for row in rest.rows], rest.is_last, rest.runs) == (["SUCCEEDED"], True, {})
    assert rest.end == (await database.read(event_log.end)).until


async def test_tail_skips_unused_log_positions(database: Database, published: PublishedFlow) -> None:
    """On PostgreSQL a second read is needed: a missing event may be committed just after the first one."""
    key = await database.write(factory.make_run, published)
    for _ in range(3):
        await database.write(factory.make_events, published, key, [Q])
        await database.write(_take_a_number)
    found = await database.read(event_log.tail, 0, None, 10)
    if database.dialect == "postgresql":
        assert (len(found.rows), found.gaps and found.gaps.writers) == (1, frozenset())
        found = await database.read(event_log.tail, found.end, found.gaps, 10)
        assert len(found.rows) == 2
    else:
        assert len(found.rows) == 3
    assert found.gaps is None


def _take_a_number(uow: UnitOfWork) -> None:
    """Uses up a log position: PostgreSQL loses one in a rollback, SQLite when an event is deleted."""
    if uow.conn.dialect.name == "postgresql":
        uow.conn.execute(text("SELECT nextval('run_event_seq_seq')"))
    else:
        uow.conn.execute(text("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'run_event'"))
