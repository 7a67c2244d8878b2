"""Secrets of projects. Their values are written and never read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from db import audit_events, projects, secrets
from db.core.database import ConflictError
from db.core.unit_of_work import UnitOfWork
from db.row_types import SecretRow
from domain import ids
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import Environment
from domain.errors import (
    InvalidArgumentError,
    ProjectNotFoundError,
    SecretInvalidError,
    SecretKeysMissingError,
    SecretNameTakenError,
    SecretNotFoundError,
)
from domain.ids import IdKind
from domain.json_codec import KIB
from domain.problem import Problem
from domain.time import clock
from engine.secrets.key_ring import NoKeyError
from engine.secrets.masks import MIN_LENGTH
from engine.secrets.store import context_of
from resolvers import authorize
from resolvers.context import Context

MAX_SECRETS = 200
"""Secrets of one project. The output of each step is searched for all of their values."""
MAX_LENGTH = 32 * KIB
"""Characters of a value: enough for a chain of certificates."""
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,99}")


async def get(context: Context, secret_id: str, columns: frozenset[str]) -> SecretRow | None:
    """Returns the secret `secret_id`; None if the viewer sees no such secret.

    Raises:
        InvalidIdError: `secret_id` is not the ID of a secret.
    """
    row = await context.loaders.load(secrets.by_ids, ids.decode(IdKind.SECRET, secret_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def of_project(context: Context, project_id: str | None, columns: frozenset[str]) -> Sequence[SecretRow]:
    """Returns the secrets of a project, by default the viewer's, oldest first; none if the viewer does not see it.

    Raises:
        InvalidIdError: `project_id` is not the ID of a project.
        InvalidArgumentError: an operator key names no project.
    """
    key = ids.decode(IdKind.PROJECT, project_id) if project_id is not None else context.viewer.project_id
    if key is None:
        raise InvalidArgumentError("An operator key sees every project. Name one with `projectId`.")
    if context.viewer.project_id not in (None, key):
        return []
    return await context.loaders.load(secrets.by_projects, key, columns) or []


async def create(
    context: Context, project_id: str | None, environment: Environment | None, name: str, value: str
) -> UUID:
    """Creates a secret; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, SecretInvalidError,
        SecretNameTakenError, SecretKeysMissingError.
    """
    owner = authorize.decode_target_project(context.viewer, project_id)
    problems = _value_problems(value)
    if not _NAME.fullmatch(name):
        message = "A name must have 1 to 100 letters, digits and underscores, and must not begin with a digit"
        problems.insert(0, Problem("name", message))
    if problems:
        raise SecretInvalidError(problems)
    if owner is None:
        raise ProjectNotFoundError
    secret_id = ids.new_uuid()
    now = ids.created_at(secret_id)
    row = {
        "id": secret_id,
        "project_id": owner,
        "environment": environment,
        "name": name,
        "created_at": now,
        "changed_at": now,
        "changed_by": context.viewer.actor.text,
        **sealed_columns(context, value, context_of(secret_id, owner, environment, name)),
    }
    try:
        await context.database.write(_create, context.origin, row)
    except ConflictError:
        raise SecretNameTakenError from None
    return secret_id


def _create(uow: UnitOfWork, origin: Origin, row: Mapping[str, Any]) -> None:
    if not projects.keep(uow, row["project_id"]):
        raise ProjectNotFoundError
    if secrets.count(uow.conn, row["project_id"]) >= MAX_SECRETS:
        raise InvalidArgumentError(f"The project already has {MAX_SECRETS} secrets, the maximum. Delete one first.")
    secrets.create(uow, row)
    details = {"name": row["name"], "environment": row["environment"]}
    _record(uow, origin, AuditAction.CREATE_SECRET, row["id"], row["project_id"], details)


async def rotate(context: Context, secret_id: str, value: str) -> UUID:
    """Sets a new value of a secret; returns its key. Attempts that start from now on get the new value.

    Raises:
        InvalidIdError, SecretNotFoundError, SecretInvalidError, SecretKeysMissingError.
    """
    if problems := _value_problems(value):
        raise SecretInvalidError(problems)
    secret = await _existing(context, secret_id, frozenset({"environment", "name"}))
    sealed = sealed_columns(context, value, context_of(secret.id, secret.project_id, secret.environment, secret.name))
    changes = {**sealed, "changed_at": clock.now(), "changed_by": context.viewer.actor.text}
    await context.database.write(_rotate, context.origin, secret, changes)
    return secret.id


def _rotate(uow: UnitOfWork, origin: Origin, secret: SecretRow, changes: Mapping[str, Any]) -> None:
    if not secrets.rotate(uow, secret.id, changes):
        raise SecretNotFoundError
    _record(uow, origin, AuditAction.ROTATE_SECRET, secret.id, secret.project_id, {"name": secret.name})


async def remove(context: Context, secret_id: str) -> None:
    """Deletes a secret. Attempts that need it fail from now on.

    Raises:
        InvalidIdError, SecretNotFoundError.
    """
    secret = await _existing(context, secret_id, frozenset({"name"}))
    await context.database.write(_remove, context.origin, secret)


def _remove(uow: UnitOfWork, origin: Origin, secret: SecretRow) -> None:
    if not secrets.remove(uow, secret.id):
        raise SecretNotFoundError
    _record(uow, origin, AuditAction.DELETE_SECRET, secret.id, secret.project_id, {"name": secret.name})


def _record(
    uow: UnitOfWork, origin: Origin, action: AuditAction, secret_id: UUID, project_id: UUID, details: Mapping[str, Any]
) -> None:
    audit_events.record(uow, origin, action, IdKind.SECRET, secret_id, project_id, details=details)


async def _existing(context: Context, secret_id: str, columns: frozenset[str]) -> SecretRow:
    secret = await get(context, secret_id, columns)
    if secret is None:
        raise SecretNotFoundError
    return secret


def sealed_columns(context: Context, value: str, sealing_context: str) -> dict[str, str]:
    """Returns the columns that store an encrypted value.

    Raises:
        SecretKeysMissingError: the service has no key.
    """
    try:
        sealed = context.secret_keys.seal(value, sealing_context)
    except NoKeyError:
        raise SecretKeysMissingError from None
    return {"key_id": sealed.key_id, "sealed": sealed.text}


def _value_problems(value: str) -> list[Problem]:
    """Returns the problems of a value. Their messages do not repeat it."""
    if len(value.strip()) < MIN_LENGTH:
        message = (
            f"A value must have at least {MIN_LENGTH} characters without white space around it: a shorter value "
            "could not be masked"
        )
        return [Problem("value", message)]
    if len(value) > MAX_LENGTH:
        return [Problem("value", f"A value must have at most {MAX_LENGTH:,} characters")]
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        return [Problem("value", "A value must not contain U+0000 or half of a surrogate pair")]
    return []
