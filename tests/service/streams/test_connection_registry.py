"""Connections that carry streams: limits per key, and which are closed or aborted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from db import access_tokens, api_keys
from db.core.database import UNREADABLE, Database
from domain.enums import Role
from domain.errors import (
    TooManyConnectionsError,
    TooManySubscriptionsError,
    UnauthenticatedError,
)
from domain.time import clock
from resolvers.context import Viewer
from service.streams.connection_registry import (
    CHECK_SECONDS,
    MAX_STALLED_CHECKS,
    Connection,
    ConnectionRegistry,
    Limits,
)
from tests.support.clock import FakeClock


@pytest.fixture
async def registry(database: Database, fake_clock: FakeClock) -> AsyncIterator[ConnectionRegistry]:
    """A registry that watches its connections."""
    fake_clock.watch(database)
    registry = ConnectionRegistry(database, Limits(connections=2, subscriptions=3))
    watch = asyncio.create_task(registry.watch())
    yield registry
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


class Transport:
    """Has a connection, and records how it ends."""

    def __init__(self, registry: ConnectionRegistry, key_id: UUID, **token: Any) -> None:
        viewer = Viewer(key_id, None, Role.VIEWER, "key", **token)
        self.errors: list[UnauthenticatedError] = []
        self.aborts = 0
        self.connection: Connection = registry.open(viewer, close=self.errors.append, abort=self.abort)

    def abort(self) -> None:
        self.aborts += 1
        self.connection.release()


async def new_key(database: Database) -> UUID:
    secret = await database.write(
        lambda uow: api_keys.create(uow, project_id=None, role=Role.VIEWER, name=f"{uuid4()}")
    )
    key = await database.read(api_keys.by_secret, secret)
    assert key is not None
    key_id: UUID = key.id
    return key_id


async def test_connections_of_revoked_key_are_closed_by_next_check(
    registry: ConnectionRegistry, database: Database, fake_clock: FakeClock
) -> None:
    revoked, active = await new_key(database), await new_key(database)
    transports = [Transport(registry, key) for key in (revoked, revoked, active)]
    await fake_clock.advance(CHECK_SECONDS)
    assert not any(transport.errors for transport in transports)
    await database.write(api_keys.revoke, revoked)
    await fake_clock.advance(CHECK_SECONDS)
    codes = [[error.code for error in transport.errors] for transport in transports]
    assert codes == [["UNAUTHENTICATED"], ["UNAUTHENTICATED"], []]


async def test_connections_of_a_token_end_with_it_or_its_key_within_a_second(
    registry: ConnectionRegistry, database: Database, fake_clock: FakeClock
) -> None:
    key, other = await new_key(database), await new_key(database)
    tokens = [uuid4() for _ in range(4)]
    later, sooner = clock.now() + timedelta(hours=1), clock.now() + timedelta(seconds=10)
    transports = [
        Transport(registry, of, token_id=token, expires_at=end)
        for of, token, end in zip((key, key, key, other), tokens, (later, sooner, later, later), strict=True)
    ]

    def ended() -> list[bool]:
        return [bool(transport.errors) for transport in transports]

    await database.write(access_tokens.revoke, tokens[0], later)
    await fake_clock.advance(1)
    assert ended() == [True, False, False, False]
    await fake_clock.advance(8)
    assert ended() == [True, False, False, False]
    await fake_clock.advance(2)
    assert ended() == [True, True, False, False]
    await database.write(api_keys.revoke, key)
    await fake_clock.advance(1)
    assert ended() == [True, True, True, False]
    assert {error.code for transport in transports for error in transport.errors} == {"UNAUTHENTICATED"}


@pytest.mark.parametrize("error", UNREADABLE)
async def test_unavailable_database_closes_no_connection(
    registry: ConnectionRegistry,
    database: Database,
    fake_clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    key = await new_key(database)
    transport = Transport(registry, key)

    async def unavailable(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(database, "read", unavailable)
        await database.write(api_keys.revoke, key)
        await fake_clock.advance(3 * CHECK_SECONDS)
        assert not transport.errors
    await fake_clock.advance(CHECK_SECONDS)
    assert transport.errors


async def test_connection_with_stalled_write_is_aborted_and_slow_one_is_not(
    registry: ConnectionRegistry, database: Database, fake_clock: FakeClock
) -> None:
    key = await new_key(database)
    stalled, slow = Transport(registry, key), Transport(registry, key)
    stalled.connection.is_writing = slow.connection.is_writing = True
    for _ in range(MAX_STALLED_CHECKS):
        await fake_clock.advance(CHECK_SECONDS)
        slow.connection.written += 1
    assert (stalled.aborts, slow.aborts) in ((0, 0), (1, 0))
    await fake_clock.advance(CHECK_SECONDS)
    assert (stalled.aborts, slow.aborts) == (1, 0)


def test_connections_and_subscriptions_of_a_key_are_limited(database: Database) -> None:
    registry = ConnectionRegistry(database, Limits(connections=2, subscriptions=3))
    key = uuid4()
    one, two = (Transport(registry, key).connection for _ in range(2))
    Transport(registry, uuid4())
    with pytest.raises(TooManyConnectionsError):
        Transport(registry, key)
    with one.subscription(), one.subscription():
        with two.subscription(), pytest.raises(TooManySubscriptionsError), one.subscription():
            pass
        with two.subscription():
            pass
    one.release()
    Transport(registry, key)
    assert registry._subscriptions == {}
