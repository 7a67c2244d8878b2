"""Tests of the first start: it creates a project, a key and the demo flows; later starts change nothing."""

from pathlib import Path
from typing import Any

import pytest

from db import api_keys, flows, projects
from db.core.database import Database
from db.flows import FlowFilter
from service.bootstrap import bootstrap
from service.settings import Settings
from tests.support.query import query

FIXED = "a-key-fixed-by-the-operator"
TABLES = ("project", "api_key", "flow", "flow_version")


def settings(url: str, **values: Any) -> Settings:
    return Settings(database_url=url, **values)


async def contents(url: str, dialect: str) -> list[Any]:
    """Returns every row of every table as text."""
    gather = "string_agg(t::text, ';' ORDER BY id)" if dialect == "postgresql" else "group_concat(hex(id))"
    return [await query(url, f"SELECT {gather} FROM {table} t") for table in TABLES]


async def test_second_start_changes_nothing(database: Database, database_url: str, dialect: str) -> None:
    first = await bootstrap(database, settings(database_url))
    before = await contents(database_url, dialect)
    second = await bootstrap(database, settings(database_url))
    assert first.new_secret is not None
    assert second.new_secret is None
    assert second.project_id == first.project_id
    assert all(before)
    assert await contents(database_url, dialect) == before


async def test_new_key_is_admin_of_default_project(database: Database, database_url: str) -> None:
    found = await bootstrap(database, settings(database_url))
    key = await database.read(api_keys.by_secret, found.new_secret or "")
    assert key is not None
    assert (key.project_id, key.role) == (found.project_id, "ADMIN")
    assert await database.read(projects.by_name, "default") == found.project_id


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_generated_key_is_stored_beside_embedded_database_readable_by_owner_only(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    found = await bootstrap(database, settings(database_url))
    assert found.key_file == tmp_path / "admin.key"
    assert found.key_file.read_text() == f"{found.new_secret}\n"
    assert found.key_file.stat().st_mode & 0o777 == 0o600
    assert (await bootstrap(database, settings(database_url))).key_file == found.key_file


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_generated_key_is_not_stored_beside_server_database(database: Database, database_url: str) -> None:
    assert (await bootstrap(database, settings(database_url))).key_file is None


async def test_fixed_key_is_used_and_not_stored_in_file(database: Database, database_url: str, tmp_path: Path) -> None:
    found = await bootstrap(database, settings(database_url, bootstrap_key=FIXED))
    assert found.new_secret == FIXED
    assert not (tmp_path / "admin.key").exists()
    assert (await bootstrap(database, settings(database_url, bootstrap_key=FIXED))).new_secret is None
    key = await database.read(api_keys.by_secret, FIXED)
    assert key is not None
    assert key.role == "ADMIN"


async def test_fixed_key_can_be_added_and_replaced_later(database: Database, database_url: str) -> None:
    generated = (await bootstrap(database, settings(database_url))).new_secret
    for secret in (FIXED, f"{FIXED}-too"):
        await bootstrap(database, settings(database_url, bootstrap_key=secret))
    for known in (generated or "", FIXED, f"{FIXED}-too"):
        assert await database.read(api_keys.by_secret, known) is not None


async def test_revoked_fixed_key_stays_revoked(database: Database, database_url: str) -> None:
    await bootstrap(database, settings(database_url, bootstrap_key=FIXED))
    key = await database.read(api_keys.by_secret, FIXED)
    assert key is not None
    await database.write(api_keys.revoke, key.id)
    await bootstrap(database, settings(database_url, bootstrap_key=FIXED))
    assert await database.read(api_keys.by_secret, FIXED) is None


async def test_demo_flows_are_seeded_if_enabled_and_no_flow_exists(database: Database, database_url: str) -> None:
    found = await bootstrap(database, settings(database_url, seed_demo=False))
    mine = FlowFilter(project_ids=[found.project_id])
    assert await database.read(flows.LISTING.count, mine, None) == 0
    await bootstrap(database, settings(database_url))
    seeded = await database.read(flows.LISTING.count, mine, None)
    assert seeded == 2
    flow = await database.read(flows.by_name, found.project_id, "hello")
    assert flow is not None
    await database.write(flows.change, flow, {"name": "renamed"})
    await bootstrap(database, settings(database_url))
    assert await database.read(flows.LISTING.count, mine, None) == seeded
