"""Remembered keys: the cost of a request, and the time until a key ends."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from db import api_keys
from db.api_keys import USE_PRECISION
from db.assembly import open_database
from db.core.database import Database
from domain.enums import Role
from domain.errors import DatabaseUnavailableError
from service.http import viewers as module
from service.http.viewers import TRUSTED, Viewers
from tests.support.app import Statements, statements
from tests.support.clock import START, FakeClock


async def new_key(database: Database, lifetime: timedelta | None = None) -> str:
    return await database.write(
        lambda uow: api_keys.create(uow, project_id=None, role=Role.OPERATOR, name="key", lifetime=lifetime)
    )


async def id_of(database: Database, secret: str) -> UUID:
    key = await database.read(api_keys.by_secret, secret)
    assert key is not None
    return key.id


@pytest.fixture
def viewers(database: Database) -> Viewers:
    return Viewers(database)


async def test_key_is_read_once_in_a_while(viewers: Viewers, database: Database, fake_clock: FakeClock) -> None:
    secret = await new_key(database)
    with statements() as found:
        for _ in range(5):
            viewer = await viewers.find(secret)
            assert viewer is not None
            assert (viewer.role, viewer.name, viewer.project_id) == (Role.OPERATOR, "key", None)
        assert len(found.texts) == 1
        await fake_clock.advance(TRUSTED.total_seconds())
        assert await viewers.find(secret) == viewer
        assert len(found.texts) == 2


async def test_requests_at_the_same_time_share_a_read(viewers: Viewers, database: Database) -> None:
    secret = await new_key(database)
    with statements() as found:
        assert None not in await asyncio.gather(*(viewers.find(secret) for _ in range(10)))
    assert len(found.texts) == 1


async def test_request_that_is_cancelled_leaves_the_read_to_others(viewers: Viewers, database: Database) -> None:
    secret = await new_key(database)
    gone, there = (asyncio.create_task(viewers.find(secret)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await there is not None


async def test_revocation_in_this_process_holds_at_once(viewers: Viewers, database: Database) -> None:
    secret, other = await new_key(database), await new_key(database)
    with viewers.forget_revoked():
        assert await viewers.find(secret)
        assert await viewers.find(other)
        await database.write(api_keys.revoke, await id_of(database, secret))
        assert await viewers.find(secret) is None
        assert await viewers.find(other)


async def test_revocation_without_a_signal_holds_soon(
    viewers: Viewers, database: Database, database_url: str, fake_clock: FakeClock
) -> None:
    """Another process without a connection for notifications, such as the command line, or SQL by hand."""
    secret, changed = await new_key(database), await new_key(database)
    other = open_database(database_url)
    with viewers.forget_revoked():
        assert await viewers.find(secret)
        assert await viewers.find(changed)
        await other.write(api_keys.revoke, await id_of(other, secret))
        await other.write(lambda uow: uow.conn.execute(text("UPDATE api_key SET role = 'VIEWER'")))
        await fake_clock.advance(TRUSTED.total_seconds())
        assert await viewers.find(secret) is None
        viewer = await viewers.find(changed)
        assert viewer is not None
        assert viewer.role is Role.VIEWER
    await other.close()


async def test_revocation_during_the_read_of_the_key_is_not_missed(
    viewers: Viewers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, other = await new_key(database), await new_key(database)
    key_id = await id_of(database, secret)
    really = Database.read

    async def revoked_in_between(*args: object) -> object:
        result: object = await really(*args)  # type: ignore[arg-type]
        monkeypatch.undo()
        await database.write(api_keys.revoke, key_id)
        assert await viewers.find(other)  # This process is notified of the revocation first.
        return result

    monkeypatch.setattr(Database, "read", revoked_in_between)
    with viewers.forget_revoked():
        await viewers.find(secret)
        assert await viewers.find(secret) is None


async def test_key_expires_on_time_though_it_is_remembered(
    viewers: Viewers, database: Database, fake_clock: FakeClock
) -> None:
    secret = await new_key(database, TRUSTED / 2)
    assert await viewers.find(secret)
    await fake_clock.advance(TRUSTED.total_seconds() / 2)
    with statements() as found:
        assert await viewers.find(secret) is None
    assert len(found.texts) == 1


async def test_clock_that_is_set_back_makes_no_key_last_longer(
    viewers: Viewers, database: Database, fake_clock: FakeClock
) -> None:
    secret = await new_key(database)
    assert await viewers.find(secret)
    fake_clock.jump(-3600)
    with statements() as found:
        assert await viewers.find(secret)
    assert len(found.texts) == 1


async def test_unknown_secrets_are_not_remembered(viewers: Viewers, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        assert await viewers.find(f"fr_{number}") is None
    assert await viewers.find("") is None
    assert await viewers.find(None) is None
    assert (viewers._known, viewers._reads) == ({}, {})


async def test_number_of_remembered_keys_is_limited(
    viewers: Viewers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    secrets = [await new_key(database) for _ in range(3)]
    for secret in secrets:
        assert await viewers.find(secret)
    assert len(viewers._known) == 2
    with statements() as found:
        assert await viewers.find(secrets[2])
        assert not found.texts
        assert await viewers.find(secrets[0])
        assert len(found.texts) == 1


async def test_unavailable_database_is_reported(
    viewers: Viewers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await new_key(database)

    async def away(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(database, "read", away)
        with pytest.raises(DatabaseUnavailableError):
            await viewers.find(secret)
    assert await viewers.find(secret)


def last_use(conn: Connection) -> datetime | None:
    (key,) = api_keys.listed(conn)
    return key.last_used_at


def writes(found: Statements) -> int:
    return sum(statement.startswith("UPDATE api_key") for statement in found.texts)


async def test_use_of_a_key_is_written_once_in_five_minutes(
    viewers: Viewers, database: Database, fake_clock: FakeClock
) -> None:
    secret = await new_key(database)
    assert await database.read(last_use) is None
    with statements() as found:
        for _ in range(3):
            await viewers.find(secret)
            await viewers.write_uses()
            await fake_clock.advance(60)
    assert writes(found) == 1
    assert await database.read(last_use) == START
    await fake_clock.advance(USE_PRECISION.total_seconds())
    await viewers.find(secret)
    await viewers.write_uses()
    assert await database.read(last_use) == START + timedelta(seconds=180) + USE_PRECISION


async def test_processes_share_the_write_of_a_use(viewers: Viewers, database: Database, fake_clock: FakeClock) -> None:
    secret = await new_key(database)
    await viewers.find(secret)
    await viewers.write_uses()
    other = Viewers(database)
    await fake_clock.advance(60)
    with statements() as found:
        await other.find(secret)
        await other.write_uses()
    assert writes(found) == 0


async def test_use_that_cannot_be_written_is_written_later(
    viewers: Viewers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await new_key(database)

    async def fail(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", fail)
        assert await viewers.find(secret) is not None
        await viewers.write_uses()
    assert await database.read(last_use) is None
    await viewers.write_uses()
    assert await database.read(last_use) is not None
