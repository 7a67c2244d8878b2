from collections.abc import Sequence

from sqlalchemy import Connection, select, text

from db import events
from db.models import RunEvent
from db.models.types import table
from db.rows import AnyRow
from db.session import Database
from domain.states import RunStatus
from tests.support import factory
from tests.support.clock import START
from tests.support.factory import Home

Q, R, S = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED


def all_rows(conn: Connection) -> Sequence[AnyRow]:
    event = table(RunEvent).c
    return conn.execute(
        select(event.seq, event.xid, event.run_id, event.kind, event.to_status).order_by(event.seq)
    ).all()


async def test_the_changes_of_each_run_come_oldest_first(database: Database, home: Home) -> None:
    one, other, none = await database.write(factory.add_runs, home, [{}, {}, {}])
    await database.write(factory.add_events, home, one, [Q, R])
    await database.write(factory.add_events, home, other, [Q])
    await database.write(factory.add_events, home, one, [S])
    found = await database.read(events.status_changes_by_runs, [one, other, none])
    assert {key: [(row.from_status, row.to_status) for row in rows] for key, rows in found.items()} == {
        one: [(None, "QUEUED"), ("QUEUED", "RUNNING"), (None, "SUCCEEDED")],
        other: [(None, "QUEUED")],
    }
    assert {(row.message, row.at) for row in found[other]} == {("QUEUED", START)}


async def test_events_of_another_kind_are_no_status_changes(database: Database, home: Home) -> None:
    key = await database.write(factory.add_run, home)
    row = {"run_id": key, "project_id": home.project_id, "flow_id": home.flow_id, "kind": "STEP"}
    change = {"from_status": None, "to_status": "RUNNING", "message": "", "at": START}
    await database.write(events.append, [{**row, **change}])
    assert await database.read(events.status_changes_by_runs, [key]) == {}


async def test_a_number_is_never_given_out_again(database: Database, home: Home) -> None:
    key = await database.write(factory.add_run, home)
    await database.write(factory.add_events, home, key, [Q, R])
    last = (await database.read(all_rows))[-1].seq
    await database.write(lambda conn: conn.execute(text("DELETE FROM run_event")) and None)
    await database.write(factory.add_events, home, key, [Q])
    assert (await database.read(all_rows))[0].seq > last


async def test_events_tell_their_transactions_apart_where_several_write(database: Database, home: Home) -> None:
    key = await database.write(factory.add_run, home)
    await database.write(factory.add_events, home, key, [Q, R])
    await database.write(factory.add_events, home, key, [S])
    numbers = [row.xid for row in await database.read(all_rows)]
    if database.dialect == "sqlite":
        assert numbers == [0, 0, 0]
    else:
        assert 0 < numbers[0] == numbers[1] < numbers[2]


async def test_pages_of_a_part_of_the_log_join_up(database: Database, home: Home) -> None:
    one, other = await database.write(factory.add_runs, home, [{}, {}])
    for key in (one, other, one):
        await database.write(factory.add_events, home, key, [Q, R])
    places = [events.place_of(row) for row in await database.read(all_rows)]
    whole, part = events.EVERYTHING, events.Scope(run_id=one, kinds=frozenset({events.RUN_STATUS}))
    # Only up to a place is the log complete at once: elsewhere on the server transactions may be open.
    last = places[-1]
    page = await database.read(events.page, events.Place(0, 0), whole, 4, (), last)
    assert ([events.place_of(row) for row in page.rows], page.end, page.is_last) == (places[:4], places[3], False)
    page = await database.read(events.page, page.end, whole, 4, (), last)
    assert ([events.place_of(row) for row in page.rows], page.end, page.is_last) == (places[4:], last, True)
    page = await database.read(events.page, last, whole, 4, (), last)
    assert (len(page.rows), page.end, page.is_last) == (0, last, True)
    page = await database.read(events.page, events.Place(0, 0), part, 10, ("status",), last)
    assert [events.place_of(row) for row in page.rows] == [*places[:2], *places[4:]]
    assert {key: row.status for key, row in page.runs.items()} == {one: "QUEUED"}


async def test_the_end_of_the_log_moves_on_and_never_back(database: Database, home: Home) -> None:
    key = await database.write(factory.add_run, home)
    ends = []
    for _ in range(3):
        ends.append(await database.read(events.end))
        await database.write(factory.add_events, home, key, [Q])
    assert ends == sorted(ends)
    (first, *_) = await database.read(all_rows)
    assert ends[0] < events.place_of(first)
