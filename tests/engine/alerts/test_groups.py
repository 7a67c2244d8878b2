"""Groups of equal events: one that gets an event while it is pruned is not lost."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from db.alerts import groups
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import AlertGroup
from db.models.types import table
from domain import ids
from domain.time import clock
from tests.support.databases.overlap import overlapping

_GROUPS = table(AlertGroup)


def group(**values: Any) -> dict[str, Any]:
    long_ago = clock.now() - timedelta(days=31)
    return {
        "alert_id": ids.new_uuid(),
        "group_key": "fingerprint",
        "project_id": ids.new_uuid(),
        "count": 0,
        "streak": 1,
        "first_at": long_ago,
        "last_at": long_ago,
        **values,
    }


async def keys(database: Database) -> set[str]:
    return set(await database.read(lambda conn: conn.execute(select(_GROUPS.c.group_key)).scalars().all()))


async def test_old_groups_without_a_message_are_pruned(database: Database) -> None:
    rows = [
        group(group_key="old", notify_at=None),
        group(group_key="due", notify_at=clock.now()),
        group(group_key="young", notify_at=None, last_at=clock.now()),
    ]
    await database.write(lambda uow: uow.conn.execute(insert(_GROUPS), rows) and None)
    assert await database.write(groups.prune, clock.now(), 10) == 1
    assert await keys(database) == {"due", "young"}


@pytest.mark.parametrize("dialect", ["postgresql"])  # SQLite has one writer
async def test_group_that_gets_an_event_is_not_pruned(database: Database) -> None:
    await database.write(lambda uow: uow.conn.execute(insert(_GROUPS), group(notify_at=None)) and None)

    def count(uow: UnitOfWork) -> None:
        uow.conn.execute(update(_GROUPS).values(count=1, last_at=clock.now(), notify_at=clock.now()))

    await overlapping(database, count, lambda uow: groups.prune(uow, clock.now(), 10))
    assert await keys(database) == {"fingerprint"}
