"""The database, as commands use it."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

from db.assembly import open_database
from db.core.database import Database
from db.migrate import upgrade
from db.search import switch
from domain.actor import Actor, ActorKind, Origin
from service.settings import Settings

T = TypeVar("T")


def with_database(settings: Settings, use: Callable[[Database], Awaitable[T]]) -> T:
    """Migrates the database, and returns what `use` returns."""

    async def run() -> T:
        database = open_database(settings.database_url)
        try:
            return await use(database)
        finally:
            await database.close()

    upgrade(settings.database_url)
    return asyncio.run(run())


def migrate(settings: Settings) -> None:
    """Brings the database to the newest schema, and switches the search on if the settings say so."""
    upgrade(settings.database_url)
    if settings.search:
        with_database(settings, lambda database: database.write(switch.switch_on))


def command_origin() -> Origin:
    """Returns the user of this host as the origin of changes."""
    try:
        user: str | None = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = None
    return Origin(Actor(ActorKind.CLI, name=user))
