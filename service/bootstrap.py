"""Creates a project, an ADMIN key and the demo flows at the first start. Later starts change nothing."""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from db import api_keys, projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from domain.enums import Role
from service import demo
from service.keys.secret_keys import load_key_ring, report_missing_keys
from service.settings import Settings

KEY_NAME = "bootstrap"


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """The default project, and its key if one was created."""

    project_id: UUID
    new_secret: str | None
    """Secret of the ADMIN key that this start created; None if it created none. It is shown once, unless `key_file`
    holds it."""
    key_file: Path | None
    """File with the generated key of an SQLite database; only its owner can read it. None on PostgreSQL."""


async def bootstrap(database: Database, settings: Settings) -> Bootstrapped:
    """Creates the default project with an ADMIN key if it has none, and the demo flows if `seed_demo` is set.

    Keys of secrets that are missing are logged.
    """
    await report_missing_keys(database, load_key_ring(settings))
    key_file = settings.database_file.parent / "admin.key" if settings.database_file else None
    fixed = settings.bootstrap_key.get_secret_value() if settings.bootstrap_key else None
    project_id, secret = await database.write(_ensure, fixed)
    if settings.seed_demo:
        await database.write(demo.seed, project_id)
    if secret is not None and fixed is None and key_file is not None:
        _write_private(key_file, secret)
    return Bootstrapped(project_id, secret, key_file if key_file and key_file.exists() else None)


def _ensure(uow: UnitOfWork, fixed_secret: str | None) -> tuple[UUID, str | None]:
    project_id = projects.by_name(uow.conn, projects.DEFAULT_NAME) or projects.create(uow, projects.DEFAULT_NAME)
    has_key = api_keys.is_known(uow.conn, fixed_secret) if fixed_secret else bool(api_keys.listed(uow.conn))
    if has_key:
        return project_id, None
    secret = api_keys.create(uow, project_id=project_id, role=Role.ADMIN, name=KEY_NAME, secret=fixed_secret)
    return project_id, secret


def _write_private(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
