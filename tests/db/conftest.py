"""What tests of the database share: a home for runs, and IDs that owe nothing to the tests before."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from db.assembly import open_database
from db.core.database import Database
from domain import ids
from tests.conftest import Dialect
from tests.support import factory
from tests.support.clock import FakeClock
from tests.support.databases.database_templates import Template
from tests.support.factory import PublishedFlow


@pytest.fixture(autouse=True)
def fresh_ids() -> None:
    """Makes IDs begin at the present instant; otherwise they would continue from a test with another clock."""
    ids.follow_clock()


@pytest.fixture
async def published(fake_clock: FakeClock, database: Database) -> PublishedFlow:
    """A project with a published flow, in a database at whose clock a test turns."""
    return await database.write(factory.make_project_with_flow)


class Clones:
    """One database a dialect for all tests of a module."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._urls: dict[Dialect, str] = {}

    def url(self, dialect: Dialect, template: Template) -> tuple[str, bool]:
        """Where it is, and whether it is new."""
        if is_new := dialect not in self._urls:
            self._urls[dialect] = self._stack.enter_context(template.clone(self._directory))
        return self._urls[dialect], is_new


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clones]:
    with ExitStack() as stack:
        yield Clones(tmp_path_factory.mktemp("clones"), stack)


@pytest.fixture
def filled_url(dialect: Dialect, clones: Clones, request: pytest.FixtureRequest) -> tuple[str, bool]:
    return clones.url(dialect, request.getfixturevalue(f"{dialect}_template"))


@pytest.fixture
async def filled(
    filled_url: tuple[str, bool], fake_clock: FakeClock, request: pytest.FixtureRequest
) -> AsyncIterator[Database]:
    """A database that the module's function `fill` filled before its first test, ANALYZEd, for tests that only read."""
    url, is_new = filled_url
    opened = open_database(url)
    if is_new:
        await opened.write(request.module.fill)
        # In a transaction of its own: events are written at the end of theirs.
        await opened.write(lambda uow: uow.conn.execute(text("ANALYZE")) and None)
    yield opened
    await opened.close()
