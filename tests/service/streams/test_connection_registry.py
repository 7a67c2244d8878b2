"""Connections that carry streams: how many a key may have, and which are ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from db import api_keys
from db.core.database import Database
from domain.enums import Role
from domain.errors import (
    DatabaseUnavailableError,
    TooManyConnectionsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
)
from service.streams.connection_registry import LOOK_SECONDS, LOOKS_STUCK, Connection, Connections, Limits
from tests.support.clock import FakeClock


@pytest.fixture
async def connections(database: Database, fake_clock: FakeClock) -> AsyncIterator[Connections]:
    """Under watch."""
    fake_clock.watch(database)
    made = Connections(database, Limits(connections=2, subscriptions=3))
    watch = asyncio.create_task(made.watch())
    yield made
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


class Ends:
    """Notes what a connection is told."""

    def __init__(self, connections: Connections, key_id: UUID) -> None:
        self.errors: list[UnauthenticatedError] = []
        self.cuts = 0
        self.connection: Connection = connections.open(key_id, end=self.errors.append, abort=self.abort)

    def abort(self) -> None:
        self.cuts += 1
        self.connection.close()


async def new_key(database: Database) -> UUID:
    secret = await database.write(
        lambda uow: api_keys.create(uow, project_id=None, role=Role.VIEWER, name=f"{uuid4()}")
    )
    row = await database.read(api_keys.by_secret, secret)
    assert row is not None
    found: UUID = row.id
    return found


async def test_connections_of_a_revoked_key_end_within_a_look(
    connections: Connections, database: Database, fake_clock: FakeClock
) -> None:
    one, other = await new_key(database), await new_key(database)
    ends = [Ends(connections, key) for key in (one, one, other)]
    await fake_clock.advance(LOOK_SECONDS)
    assert not any(each.errors for each in ends)
    await database.write(api_keys.revoke, one)
    await fake_clock.advance(LOOK_SECONDS)
    assert [[error.code for error in each.errors] for each in ends] == [["UNAUTHENTICATED"], ["UNAUTHENTICATED"], []]


async def test_unavailable_database_ends_no_connection(
    connections: Connections, database: Database, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await new_key(database)
    ends = Ends(connections, key)

    async def away(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(database, "read", away)
        await database.write(api_keys.revoke, key)
        await fake_clock.advance(3 * LOOK_SECONDS)
        assert not ends.errors
    await fake_clock.advance(LOOK_SECONDS)
    assert ends.errors


async def test_a_write_that_does_not_end_is_cut_off_and_one_that_does_is_not(
    connections: Connections, database: Database, fake_clock: FakeClock
) -> None:
    key = await new_key(database)
    stuck, slow = Ends(connections, key), Ends(connections, key)
    stuck.connection.is_writing = slow.connection.is_writing = True
    for _ in range(LOOKS_STUCK):
        await fake_clock.advance(LOOK_SECONDS)
        slow.connection.written += 1
    assert (stuck.cuts, slow.cuts) == (0, 0) or (stuck.cuts, slow.cuts) == (1, 0)
    await fake_clock.advance(LOOK_SECONDS)
    assert (stuck.cuts, slow.cuts) == (1, 0)


def test_what_a_key_has_open_is_counted(database: Database) -> None:
    connections = Connections(database, Limits(connections=2, subscriptions=3))
    key = uuid4()
    one, two = (Ends(connections, key).connection for _ in range(2))
    Ends(connections, uuid4())
    with pytest.raises(TooManyConnectionsError):
        Ends(connections, key)
    with one.subscription(), one.subscription():
        with two.subscription(), pytest.raises(TooManySubscriptionsError), one.subscription():
            pass
        with two.subscription():
            pass
    one.close()
    Ends(connections, key)
    assert connections._subscriptions == {}
