"""Reads and writes of secrets. Callers encrypt and decrypt the values; this module has no keys."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Table, delete, func, insert, or_, select, tuple_, update

from db import webhooks
from db.core import pubsub
from db.core.unit_of_work import UnitOfWork
from db.deliveries import sealed as sealed_texts
from db.models import FlowRun, RetiredSecret, Secret, StepResult
from db.models.types import table
from db.row_types import SecretRow
from db.sql.rows import fetch_all, group_by, select_columns
from domain import ids

KEY_ID_LENGTH = 8
"""Characters that identify a key. A redacted output begins with those of its key."""

_secrets = table(Secret)
_secret = _secrets.c
_retired_secrets = table(RetiredSecret)
_retired = _retired_secrets.c
_steps = table(StepResult)
_step = _steps.c
_runs = table(FlowRun)
_run = _runs.c

_VALUE = ("secret_id", "project_id", "environment", "name", "key_id", "sealed")


class SealedValue(NamedTuple):
    """An encrypted value, and the secret that it belongs to."""

    row_id: UUID
    secret_id: UUID
    project_id: UUID
    environment: str | None
    name: str
    key_id: str
    sealed: str


class SealedStep(NamedTuple):
    """The redacted parts of a step's output, encrypted."""

    run_id: UUID
    position: int
    project_id: UUID
    name: str
    sealed: str
    """The ID of the key, a colon, and the encrypted text."""


class Stamp(NamedTuple):
    """A value that changes with each change of a project's secrets."""

    secrets: int
    changed_at: datetime | None
    retired: UUID | None


_CURRENT = select(_secret.id, _secret.id.label("secret_id"), *(_secret[name] for name in _VALUE if name != "secret_id"))
_FORMER = select(_retired.id, *(_retired[name] for name in _VALUE))


def create(uow: UnitOfWork, row: Mapping[str, Any]) -> None:
    """Inserts a secret.

    Raises:
        ConflictError: the project has a secret with this name for the same environment.
    """
    uow.conn.execute(insert(_secrets), row)
    uow.publish_after_commit(pubsub.SECRETS_CHANGED)


def rotate(uow: UnitOfWork, secret_id: UUID, values: Mapping[str, Any]) -> bool:
    """Replaces the value of a secret and retires the earlier one. Returns False if the secret does not exist."""
    if not _retire(uow, secret_id):
        return False
    uow.conn.execute(update(_secrets).where(_secret.id == secret_id).values(**values))
    return True


def remove(uow: UnitOfWork, secret_id: UUID) -> bool:
    """Deletes a secret and retires its value. Returns False if the secret does not exist."""
    if not _retire(uow, secret_id):
        return False
    uow.conn.execute(delete(_secrets).where(_secret.id == secret_id))
    return True


def _retire(uow: UnitOfWork, secret_id: UUID) -> bool:
    row = uow.conn.execute(_CURRENT.where(_secret.id == secret_id).with_for_update()).mappings().first()
    if row is None:
        return False
    uow.conn.execute(insert(_retired_secrets), {**row, "id": ids.new_uuid()})
    uow.publish_after_commit(pubsub.SECRETS_CHANGED)
    return True


def prune_retired(uow: UnitOfWork, before: datetime, limit: int) -> int:
    """Deletes at most `limit` values that were retired before `before`; returns their number."""
    old = select(_retired.id).where(_retired.id < ids.first_uuid_at(before)).limit(limit)
    return uow.conn.execute(delete(_retired_secrets).where(_retired.id.in_(old.scalar_subquery()))).rowcount


def count(conn: Connection, project_id: UUID) -> int:
    """Returns the number of secrets of a project."""
    return conn.execute(select(func.count()).where(_secret.project_id == project_id)).scalar_one()


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, SecretRow]:
    """Returns the secrets `keys`, with `id` and `project_id`."""
    query = select(*select_columns(_secrets, {*columns, "project_id"})).where(_secret.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def by_projects(
    conn: Connection, project_ids: Sequence[UUID], columns: Collection[str]
) -> Mapping[UUID, list[SecretRow]]:
    """Returns the secrets of each project, oldest first, with `id` and `project_id`."""
    query = select(*select_columns(_secrets, {*columns, "project_id"})).where(_secret.project_id.in_(project_ids))
    return group_by(fetch_all(conn, query.order_by(_secret.id)), "project_id")


def values(conn: Connection, project_id: UUID, environment: str, names: Collection[str]) -> dict[str, SealedValue]:
    """Returns the values that runs of an environment get, by name. A value for the environment precedes one for all."""
    of_environment = or_(_secret.environment == environment, _secret.environment.is_(None))
    query = _CURRENT.where(_secret.project_id == project_id, _secret.name.in_(names), of_environment)
    found: dict[str, SealedValue] = {}
    for row in fetch_all(conn, query):
        value = SealedValue(*row)
        if value.environment is not None or value.name not in found:
            found[value.name] = value
    return found


def stamp(conn: Connection, project_id: UUID) -> Stamp:
    """Returns a value that changes with each change of the project's secrets."""
    current = select(func.count(), func.max(_secret.changed_at)).where(_secret.project_id == project_id)
    # This finds the newest row: PostgreSQL has no max() of UUIDs.
    last = select(_retired.id).where(_retired.project_id == project_id).order_by(_retired.id.desc()).limit(1)
    row = conn.execute(current).one()
    return Stamp(row[0], row[1], conn.execute(last).scalar())


def all_values(conn: Connection, project_id: UUID) -> list[SealedValue]:
    """Returns the values of a project's secrets, including earlier ones."""
    queries = (_CURRENT.where(_secret.project_id == project_id), _FORMER.where(_retired.project_id == project_id))
    return [SealedValue(*row) for query in queries for row in fetch_all(conn, query)]


def key_counts(conn: Connection) -> Mapping[str, int]:
    """Returns the number of texts in use that each key has encrypted: secrets, signing secrets, URLs of callbacks."""
    counts: Counter[str] = Counter(
        dict(conn.execute(select(_secret.key_id, func.count()).group_by(_secret.key_id)).all())
    )
    return counts + Counter(webhooks.key_counts(conn)) + sealed_texts.key_counts(conn)


def all_key_counts(conn: Connection) -> Mapping[str, int]:
    """Returns the number of all texts that each key has encrypted, with former values and redacted outputs.

    A key without any can be removed. It reads all redacted outputs.
    """
    former = select(_retired.key_id, func.count()).group_by(_retired.key_id)
    key_id = func.substr(_step.sealed, 1, KEY_ID_LENGTH)
    outputs = select(key_id, func.count()).where(_step.sealed.is_not(None)).group_by(key_id)
    counts = Counter(key_counts(conn))
    for query in (former, outputs):
        counts += Counter(dict(conn.execute(query).all()))
    return counts


def not_sealed_by(conn: Connection, key_ids: Collection[str], limit: int) -> list[SealedValue]:
    """Returns at most `limit` values, current or former, that none of these keys has encrypted."""
    found: list[SealedValue] = []
    for query, column in ((_CURRENT, _secret.key_id), (_FORMER, _retired.key_id)):
        rows = fetch_all(conn, query.where(column.not_in(key_ids)).limit(limit - len(found)))
        found += [SealedValue(*row) for row in rows]
    return found


def reseal(uow: UnitOfWork, changes: Iterable[tuple[SealedValue, str, str]]) -> None:
    """Stores values that another key has encrypted: its ID, and the text. Values that changed since are skipped."""
    for value, key_id, sealed in changes:
        for source in (_secrets, _retired_secrets):
            _reseal(uow, source, value, key_id, sealed)


def _reseal(uow: UnitOfWork, source: Table, value: SealedValue, key_id: str, sealed: str) -> None:
    same = (source.c.id == value.row_id, source.c.sealed == value.sealed)
    uow.conn.execute(update(source).where(*same).values(key_id=key_id, sealed=sealed))


def steps_not_sealed_by(conn: Connection, key_id: str, after: tuple[UUID, int] | None, limit: int) -> list[SealedStep]:
    """Returns at most `limit` redacted outputs that the key has not encrypted, after the step `after`."""
    query = (
        select(_step.run_id, _step.position, _run.project_id, _step.name, _step.sealed)
        .join_from(_steps, _runs, _run.id == _step.run_id)
        .where(_step.sealed.is_not(None), ~_step.sealed.startswith(f"{key_id}:"))
    )
    if after is not None:
        query = query.where(tuple_(_step.run_id, _step.position) > after)
    rows = fetch_all(conn, query.order_by(_step.run_id, _step.position).limit(limit))
    return [SealedStep(*row) for row in rows]


def reseal_steps(uow: UnitOfWork, changes: Iterable[tuple[SealedStep, str]]) -> None:
    """Stores redacted outputs that another key has encrypted. Those that changed since are skipped."""
    for step, sealed in changes:
        same = (_step.run_id == step.run_id, _step.position == step.position, _step.sealed == step.sealed)
        uow.conn.execute(update(_steps).where(*same).values(sealed=sealed))
