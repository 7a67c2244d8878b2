import asyncio
from uuid import UUID

import pytest
from sqlalchemy import Connection

from db import flows, projects
from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from db.flows import FlowFilter
from db.sql.keyset import Page
from domain import ids
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import PublishedFlow

ALL = {"name", "enabled", "published_version_id", "created_at", "updated_at"}


async def test_new_flow_is_enabled_and_not_published(database: Database, published: PublishedFlow) -> None:
    key = await database.write(flows.create, published.project_id, "new")
    flow = (await database.read(flows.by_ids, [key], ALL))[key]
    assert (flow.project_id, flow.name, flow.enabled) == (published.project_id, "new", True)
    assert (flow.published_version_id, flow.created_at, flow.updated_at) == (None, START, START)


async def test_flow_name_is_unique_in_project(database: Database, published: PublishedFlow) -> None:
    key = await database.write(flows.create, published.project_id, "one")
    with pytest.raises(ConflictError):
        await database.write(flows.create, published.project_id, "one")
    other = await database.write(projects.create, "other")
    assert await database.write(flows.create, other, "one") != key
    assert await database.read(flows.by_name, published.project_id, "one") == key
    assert await database.read(flows.by_name, published.project_id, "One") is None


async def test_publishing_creates_next_version_and_publishes_it(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    await fake_clock.advance(5)
    second = await database.write(flows.publish, published.flow_id, published.project_id, '{"steps":[]}', 7)
    flow = (await database.read(flows.by_ids, [published.flow_id], ALL))[published.flow_id]
    assert (flow.published_version_id, flow.updated_at) == (second, fake_clock.now())
    found = await database.read(
        flows.versions_by_ids, [published.version_id, second], {"number", "step_count", "flow_id"}
    )
    assert {key: (row.number, row.step_count, row.flow_id) for key, row in found.items()} == {
        published.version_id: (1, 3, published.flow_id),
        second: (2, 7, published.flow_id),
    }
    assert await database.read(flows.definition, second) == '{"steps":[]}'


async def test_concurrent_publications_get_distinct_numbers(database: Database, published: PublishedFlow) -> None:
    version_ids = await asyncio.gather(
        *(database.write(flows.publish, published.flow_id, published.project_id, "{}", number) for number in range(12))
    )
    found = await database.read(flows.versions_by_ids, version_ids, {"number"})
    assert sorted(row.number for row in found.values()) == list(range(2, 14))
    flow = (await database.read(flows.by_ids, [published.flow_id], ALL))[published.flow_id]
    assert flow.published_version_id is not None
    assert found[flow.published_version_id].number == 13


async def test_versions_are_numbered_per_flow(database: Database, published: PublishedFlow) -> None:
    other = await database.write(factory.make_flow, published.project_id, "other")
    found = await database.read(flows.versions_by_ids, [other.version_id], {"number"})
    assert found[other.version_id].number == 1


async def test_flow_is_renamed_and_disabled(
    database: Database, published: PublishedFlow, fake_clock: FakeClock
) -> None:
    await fake_clock.advance(5)
    await database.write(flows.change, published.flow_id, {"name": "renamed", "enabled": False})
    flow = (await database.read(flows.by_ids, [published.flow_id], ALL))[published.flow_id]
    assert (flow.name, flow.enabled, flow.updated_at) == ("renamed", False, fake_clock.now())
    assert flow.published_version_id == published.version_id


async def test_renaming_to_a_used_name_is_a_conflict(database: Database, published: PublishedFlow) -> None:
    await database.write(flows.create, published.project_id, "taken")
    with pytest.raises(ConflictError):
        await database.write(flows.change, published.flow_id, {"name": "taken"})


def fill(uow: UnitOfWork) -> None:
    """Creates flows of two projects, named after their properties."""
    first, second = projects.create(uow, "first"), projects.create(uow, "second")
    factory.make_flow(uow, first, "first published")
    flows.create(uow, first, "first draft 100%")
    disabled = flows.create(uow, second, "second DRAFT disabled_")
    flows.change(uow, disabled, {"enabled": False})


def matching(conn: Connection, where: FlowFilter) -> list[str]:
    found = [row.name for row in flows.LISTING.page(conn, {"name"}, where, Page(10))]
    assert flows.LISTING.count(conn, where, None) == len(found)
    return found


P, D, X = "first published", "first draft 100%", "second DRAFT disabled_"


CASES: list[tuple[FlowFilter, list[str]]] = [
    (FlowFilter(), [X, D, P]),
    (FlowFilter(name_contains="draft"), [X, D]),
    (FlowFilter(name_contains="%"), [D]),
    (FlowFilter(name_contains="_"), [X]),
    (FlowFilter(name_contains=""), [X, D, P]),
    (FlowFilter(enabled=True), [D, P]),
    (FlowFilter(enabled=False), [X]),
    (FlowFilter(published=True), [P]),
    (FlowFilter(published=False), [X, D]),
    (FlowFilter(published=False, enabled=True), [D]),
    (FlowFilter(ids=[]), []),
    (FlowFilter(project_ids=[]), []),
    (FlowFilter(project_ids=[factory.uuid_at(START)]), []),
]


async def test_filter_matches_expected_flows(filled: Database) -> None:
    for where, names in CASES:
        assert await filled.read(matching, where) == names, where


def narrowed(conn: Connection) -> tuple[list[str], list[str]]:
    project = projects.by_name(conn, "second")
    first = projects.by_name(conn, "first")
    assert project is not None
    assert first is not None
    key = flows.by_name(conn, first, P)
    assert key is not None
    return matching(conn, FlowFilter(project_ids=[project])), matching(conn, FlowFilter(ids=[key]))


async def test_filter_by_project_and_id(filled: Database) -> None:
    assert await filled.read(narrowed) == ([X], [P])


async def test_counting_stops_at_the_limit(filled: Database) -> None:
    limits = [0, 2, 3, 4, None]
    assert [await filled.read(flows.LISTING.count, FlowFilter(), limit) for limit in limits] == [0, 2, 3, 3, 3]


async def test_unknown_keys_return_no_rows(database: Database) -> None:
    unknown: UUID = ids.new_uuid()
    assert await database.read(flows.by_ids, [unknown], ALL) == {}
    assert await database.read(flows.versions_by_ids, [unknown], {"number"}) == {}
