from db import projects
from db.core.database import Database
from domain import ids
from tests.support.clock import START, FakeClock


async def test_project_is_found_by_name_and_id(database: Database, fake_clock: FakeClock) -> None:
    key = await database.write(projects.create, "one")
    assert await database.read(projects.by_name, "one") == key
    assert await database.read(projects.by_name, "One") is None
    found = await database.read(projects.by_ids, [key, ids.new_uuid()], {"name", "retry_limit", "created_at"})
    assert found.keys() == {key}
    assert (found[key].name, found[key].retry_limit, found[key].created_at) == ("one", 10, START)


async def test_project_names_are_ordered_oldest_first(database: Database) -> None:
    for name in ("b", "c", "a"):
        await database.write(projects.create, name)
    assert await database.read(projects.names) == ["b", "c", "a"]
