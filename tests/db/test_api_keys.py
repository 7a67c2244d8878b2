from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from db import access_tokens, api_keys, projects
from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from db.models import ApiKey
from db.models.types import table
from domain import ids
from domain.enums import Role
from domain.time import clock
from tests.support.clock import START, FakeClock
from tests.support.databases.overlap import overlapping
from tests.support.factory import PublishedFlow


def everything(conn: Connection) -> str:
    return str(conn.execute(select(table(ApiKey))).all())


async def key_id(database: Database, secret: str) -> UUID:
    found = await database.read(api_keys.by_secret, secret)
    assert found is not None
    key: UUID = found.id
    return key


async def test_key_is_found_by_its_secret(database: Database, published: PublishedFlow) -> None:
    secret = await database.write(api_keys.create, project_id=published.project_id, role=Role.OPERATOR, name="ci")
    found = await database.read(api_keys.by_secret, secret)
    assert found is not None
    assert (found.project_id, found.role, found.name) == (published.project_id, "OPERATOR", "ci")


async def test_operator_key_has_no_project(database: Database) -> None:
    secret = await database.write(api_keys.create, project_id=None, role=Role.ADMIN, name="operator")
    found = await database.read(api_keys.by_secret, secret)
    assert found is not None
    assert found.project_id is None


async def test_only_hash_and_hint_of_a_secret_are_stored(database: Database) -> None:
    secret = await database.write(api_keys.create, project_id=None, role=Role.ADMIN, name="operator")
    kept = await database.read(everything)
    assert secret not in kept
    assert secret[8:] not in kept
    (listed,) = await database.read(api_keys.listed)
    assert listed.hint == secret[:8]


async def test_secrets_are_long_random_and_prefixed() -> None:
    secrets = {api_keys.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("fr_") and len(secret) == 46 for secret in secrets)


async def test_given_secret_is_unique(database: Database) -> None:
    given = "fr_given-by-the-operator"
    create = {"project_id": None, "role": Role.ADMIN, "name": "bootstrap", "secret": given}
    assert await database.write(lambda uow: api_keys.create(uow, **create)) == given  # type: ignore[arg-type]
    with pytest.raises(ConflictError):
        await database.write(lambda uow: api_keys.create(uow, **create))  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["", "x", "FR_", " "])
async def test_damaged_secret_finds_no_key(database: Database, damage: str) -> None:
    secret = await database.write(api_keys.create, project_id=None, role=Role.ADMIN, name="operator")
    assert await database.read(api_keys.by_secret, damage + secret[: len(secret) - 1]) is None
    assert not await database.read(api_keys.is_known, damage + secret[: len(secret) - 1])


async def test_revoked_key_is_known_but_not_in_force(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    secret = await database.write(api_keys.create, project_id=None, role=Role.ADMIN, name="one")
    other = await database.write(api_keys.create, project_id=None, role=Role.ADMIN, name="other")
    key = await key_id(database, secret)
    await fake_clock.advance(5)
    assert await database.write(api_keys.revoke, key)
    assert await database.read(api_keys.by_secret, secret) is None
    assert await database.read(api_keys.is_known, secret)
    assert await database.read(api_keys.by_secret, other) is not None
    # And it was revoked when it was revoked first.
    await fake_clock.advance(5)
    assert not await database.write(api_keys.revoke, key)
    assert (await database.read(api_keys.listed))[0].revoked_at == START + timedelta(seconds=5)


async def test_unknown_key_cannot_be_revoked(database: Database) -> None:
    assert not await database.write(api_keys.revoke, ids.new_uuid())


async def test_key_expires_after_its_lifetime(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    lifetime = timedelta(days=30)
    secret = await database.write(
        api_keys.create, project_id=published.project_id, role=Role.VIEWER, name="short", lifetime=lifetime
    )
    await fake_clock.advance(lifetime.total_seconds() - 1)
    assert await database.read(api_keys.by_secret, secret) is not None
    await fake_clock.advance(1)
    assert await database.read(api_keys.by_secret, secret) is None
    assert await database.read(api_keys.is_known, secret)


async def test_keys_are_listed_oldest_first_with_their_projects(database: Database, published: PublishedFlow) -> None:
    await database.write(projects.create, "without keys")
    await database.write(api_keys.create, project_id=published.project_id, role=Role.VIEWER, name="reader")
    await database.write(api_keys.create, project_id=None, role=Role.ADMIN, name="operator")
    listed = await database.read(api_keys.listed)
    assert [(key.name, key.role, key.project) for key in listed] == [
        ("reader", "VIEWER", "home"),
        ("operator", "ADMIN", None),
    ]
    assert [(key.created_at, key.expires_at, key.revoked_at) for key in listed] == [(START, None, None)] * 2


@pytest.mark.parametrize("dialect", ["postgresql"])  # SQLite has one writer
async def test_one_of_two_revocations_of_a_token_counts(database: Database) -> None:
    token_id, expires_at = ids.new_uuid(), clock.now() + timedelta(minutes=5)

    def revoke(uow: UnitOfWork) -> bool:
        return access_tokens.revoke(uow, token_id, expires_at)

    assert await overlapping(database, revoke, revoke) == (True, False)
