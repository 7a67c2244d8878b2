"""The one way to a new run, whatever starts it: its first values, and doing it once under an idempotency key."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from db.runs import reads as run_reads
from db.runs import step_journal, transitions
from domain import ids
from domain.enums import RunStatus, TriggerMethod
from domain.errors import (
    IdempotencyConflictError,
    InvalidArgumentError,
    ParentNotLiveError,
    QuotaExceededError,
    RunNotFoundError,
)
from domain.state_machine import LIVE
from engine.child_flows import MAX_DEPTH

MAX_KEY_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An idempotency key with the hash of the arguments that came with it; or none."""

    key: str | None
    request_hash: str | None

    @classmethod
    def of(cls, key: str | None, arguments: list[Any]) -> "Idempotency":
        """The key for a request with `arguments`, JSON values.

        Raises:
            InvalidArgumentError: the key is empty, too long, or has a character that cannot be kept.
        """
        if key is None:
            return cls(None, None)
        if not 1 <= len(key) <= MAX_KEY_LENGTH or "\0" in key:
            raise InvalidArgumentError(f"`idempotencyKey` must have 1 to {MAX_KEY_LENGTH} characters, and no U+0000.")
        text = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        return cls(key, hashlib.sha256(text).hexdigest())

    @property
    def values(self) -> dict[str, Any]:
        """The columns by which the run will be found again."""
        return {"idempotency_key": self.key, "request_hash": self.request_hash}

    def earlier_run(self, conn: Any, project_id: UUID) -> UUID | None:
        """The run that was created under this key.

        Raises:
            IdempotencyConflictError: it was created with other arguments.
            QuotaExceededError: it was beyond the quota; the same request has the same answer.
        """
        earlier = run_reads.by_idempotency_key(conn, project_id, self.key) if self.key is not None else None
        if earlier is None:
            return None
        if earlier.request_hash != self.request_hash:
            raise IdempotencyConflictError
        if earlier.status == RunStatus.QUOTA_EXCEEDED:
            raise QuotaExceededError(earlier.id)
        found: UUID = earlier.id
        return found


NO_KEY = Idempotency(None, None)


@dataclass(frozen=True, slots=True)
class FlowRef:
    """What a run executes."""

    project_id: UUID
    flow_id: UUID
    version_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that is wanted, checked as far as that goes without a transaction."""

    target: FlowRef
    values: Mapping[str, Any]
    """The columns that its starter fills."""
    trigger_method: TriggerMethod
    parent_id: UUID | None = None
    idempotency: Idempotency = NO_KEY


def create(uow: UnitOfWork, wanted: NewRun) -> UUID:
    """Write a QUEUED run, or find the one that was created under its idempotency key; returns its key.

    Raises:
        IdempotencyConflictError, RunNotFoundError (the parent), ParentNotLiveError, InvalidArgumentError,
        QuotaExceededError (the earlier one was beyond the quota).
    """
    target = wanted.target
    if (done := wanted.idempotency.earlier_run(uow.conn, target.project_id)) is not None:
        return done
    new = with_defaults({**wanted.values, **wanted.idempotency.values})
    new |= {
        "project_id": target.project_id,
        "flow_id": target.flow_id,
        "flow_version_id": target.version_id,
        "trigger_method": wanted.trigger_method,
    }
    if wanted.parent_id is not None:
        parent = _live_parent(uow, wanted.parent_id, target.project_id)
        new |= {"parent_run_id": wanted.parent_id, "root_run_id": parent.root_run_id, "depth": parent.depth + 1}
    transitions.create(uow, new, f"Flow started via {wanted.trigger_method.lower()}")
    created: UUID = new["id"]
    return created


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` of a run, with its ID and all that begins the same for every run."""
    run_id = ids.new_uuid()
    return {
        "id": run_id,
        "root_run_id": run_id,
        "created_at": ids.created_at(run_id),
        "attempt": 1,
        "interruptions": 0,
        **values,
    }


async def create_idempotent(database: Database, work: Callable[[UnitOfWork], UUID]) -> UUID:
    """The result of `work`, which looks for an earlier run under its key before it creates one.

    Raises:
        QuotaExceededError: it created one that is beyond the project's quota.
    """
    try:
        run_id, is_refused = await database.write(_charged, work)
    except ConflictError:
        # Somebody else created it between our look and our insert; now it is found.
        run_id, is_refused = await database.write(_charged, work)
    if is_refused:
        raise QuotaExceededError(run_id)
    return run_id


def _charged(uow: UnitOfWork, work: Callable[[UnitOfWork], UUID]) -> tuple[UUID, bool]:
    run_id = work(uow)
    return run_id, run_id in step_journal.apply_quota(uow)


def _live_parent(uow: UnitOfWork, parent_id: UUID, project_id: UUID) -> run_reads.ParentRun:
    parent = run_reads.parent(uow, parent_id, project_id)
    if parent is None:
        raise RunNotFoundError("There is no such parent run.")
    if parent.status not in LIVE:
        raise ParentNotLiveError
    if parent.depth >= MAX_DEPTH:
        raise InvalidArgumentError(f"Runs nest at most {MAX_DEPTH} deep.")
    return parent
