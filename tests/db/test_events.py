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
    return conn.execute(select(event.seq, event.xid, event.run_id).order_by(event.seq)).all()


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
    row = {"run_id": key, "project_id": home.project_id, "flow_id": home.flow_id, "kind": events.STEP_STATUS}
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
