"""What the whole run shares: a directory, made by the process that was started and known to its xdist workers."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from tests.support.account import unprivileged
from tests.support.databases.compiled_statements import share_compiled_statements
from tests.support.databases.database_templates import (
    PostgresTemplate,
    SqliteTemplate,
    clean_given_server,
    postgres_template,
    sqlite_template,
)
from tests.support.databases.postgres import PostgresServer, postgres_server
from tests.support.processes.guarded import guarded_directory

_SHARED = pytest.StashKey[Path]()
_CLEANUP = pytest.StashKey[ExitStack]()
# Without the search for a smaller example, which goes on for minutes; `--hypothesis-profile default` makes it.
settings.register_profile("suite", phases=set(Phase) - {Phase.shrink, Phase.explain})
settings.load_profile("suite")
_WORKERINPUT_KEY = "flowruns_shared"


def pytest_configure(config: pytest.Config) -> None:
    share_compiled_statements()
    workerinput: dict[str, str] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.stash[_SHARED] = Path(workerinput[_WORKERINPUT_KEY])
        return
    cleanup = ExitStack()
    config.stash[_SHARED] = shared = cleanup.enter_context(guarded_directory(unprivileged()))
    cleanup.callback(clean_given_server, shared)
    config.stash[_CLEANUP] = cleanup


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by xdist in the first process for each worker."""
    node.workerinput[_WORKERINPUT_KEY] = str(node.config.stash[_SHARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    if cleanup := config.stash.get(_CLEANUP, None):
        cleanup.close()


@pytest.fixture(scope="session", name="sqlite_template")
def provide_sqlite_template(pytestconfig: pytest.Config) -> SqliteTemplate:
    return sqlite_template(pytestconfig.stash[_SHARED])


@pytest.fixture(scope="session", name="postgresql_template")
def provide_postgres_template(pytestconfig: pytest.Config) -> Iterator[PostgresTemplate]:
    with postgres_template(pytestconfig.stash[_SHARED]) as template:
        yield template


@pytest.fixture(name="own_postgres")
def provide_own_postgres() -> Iterator[PostgresServer]:
    """A server for this test alone, to stop, start and kill."""
    with postgres_server() as server:
        yield server
