"""Every test that asks for a database runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, cast

import pytest

from db.assembly import open_database
from db.core.database import Database
from tests.support.databases.database_templates import Template

pytest_plugins = [
    "tests.support.worker",
    "tests.support.plugin",
    "tests.support.clock",
    "tests.support.app",
    "tests.support.processes.server",
]

Dialect = Literal["sqlite", "postgresql"]


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return cast("Dialect", request.param)


@pytest.fixture
def new_database_url(dialect: Dialect, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Creates another empty database at the present schema, which is removed after the test."""
    # Asked for by name, so that PostgreSQL starts only if a test is going to use it.
    template: Template = request.getfixturevalue(f"{dialect}_template")
    with ExitStack() as clones:
        yield lambda: clones.enter_context(template.clone(tmp_path))


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """An empty database at the present schema."""
    return new_database_url()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.close()
