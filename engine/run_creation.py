"""Creates runs for all triggers: sets their initial columns, and creates at most one run for each idempotency key."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, NamedTuple, ParamSpec
from uuid import UUID

import orjson

from db import audit_events
from db.core.database import ConflictError, Database
from db.core.unit_of_work import UnitOfWork
from db.queue import quota
from db.runs import cancellation, families, retries, transitions
from db.runs import reads as run_reads
from domain import ids
from domain.actor import Actor, Origin
from domain.audit import AuditAction
from domain.enums import RunStatus, TriggerMethod
from domain.errors import (
    IdempotencyConflictError,
    InvalidArgumentError,
    ParentNotLiveError,
    QuotaExceededError,
    RunNotFoundError,
)
from domain.flows.definition import MAX_RUN_DEPTH
from domain.ids import IdKind
from domain.runs.state_machine import LIVE
from engine.deliveries.callbacks import RunCallback

P = ParamSpec("P")

MAX_KEY_LENGTH = 200
"""Largest number of characters of an idempotency key."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """An idempotency key and the hash of the request's arguments; both None if the request has no key."""

    key: str | None
    request_hash: str | None

    @classmethod
    def of(cls, key: str | None, arguments: list[Any]) -> "Idempotency":
        """Returns the key of a request with `arguments`, JSON values.

        Raises:
            InvalidArgumentError: the key is empty, too long, or has a character that cannot be stored.
        """
        if key is None:
            return cls(None, None)
        if not 1 <= len(key) <= MAX_KEY_LENGTH or "\0" in key:
            raise InvalidArgumentError(
                f"`idempotencyKey` must have 1 to {MAX_KEY_LENGTH} characters, none of them U+0000."
            )
        text = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        return cls(key, hashlib.sha256(text).hexdigest())

    @property
    def values(self) -> dict[str, Any]:
        """The columns by which later requests with the same key find the run."""
        return {"idempotency_key": self.key, "request_hash": self.request_hash}

    def earlier_run(self, conn: Any, project_id: UUID) -> UUID | None:
        """Returns the run that was created with this key; None if there is none, or the request has no key.

        For a run that exceeded the quota, returns the retry that is live or has succeeded, so that a client can repeat
        a refused request.

        Raises:
            IdempotencyConflictError: the run was created with other arguments.
        """
        found = self._found(conn, project_id)
        return None if found is None else found.run_id

    def take(self, uow: UnitOfWork, project_id: UUID) -> "Earlier":
        """Returns the result of earlier requests with this key. If they created no run, a new run can have the key.

        Raises:
            IdempotencyConflictError: the run was created with other arguments.
            QuotaExceededError: the quota refused the run, and is still used up.
        """
        found = self._found(uow.conn, project_id)
        if found is None:
            return Earlier(None, None)
        if found.run_id is None and found.refused_id is not None:
            if not quota.is_left(uow.conn, project_id):
                raise QuotaExceededError(found.refused_id)
            transitions.forget_idempotency_key(uow, found.refused_id)
        return found

    def _found(self, conn: Any, project_id: UUID) -> "Earlier | None":
        earlier = run_reads.by_idempotency_key(conn, project_id, self.key) if self.key is not None else None
        if earlier is None:
            return None
        if earlier.request_hash != self.request_hash:
            raise IdempotencyConflictError
        if earlier.status != RunStatus.QUOTA_EXCEEDED:
            return Earlier(earlier.id, None)
        return Earlier(retries.delivered_retry(conn, earlier.id), earlier.id)


class Earlier(NamedTuple):
    """The result of earlier requests with an idempotency key."""

    run_id: UUID | None
    """The run that the key names; None if there is none, or the quota refused it."""
    refused_id: UUID | None
    """The run with the key that the quota refused; None if it refused none."""


NO_KEY = Idempotency(None, None)


@dataclass(frozen=True, slots=True)
class FlowRef:
    """The flow version that a run executes."""

    project_id: UUID
    flow_id: UUID
    version_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to create. Every check that needs no transaction has been made."""

    target: FlowRef
    values: Mapping[str, Any]
    """The columns that the request sets."""
    trigger_method: TriggerMethod
    started_by: Actor
    requested: Origin | None = None
    """The mutation that starts the run, for the audit log; None if no mutation does."""
    parent_id: UUID | None = None
    idempotency: Idempotency = NO_KEY
    callback: RunCallback | None = None


def create(uow: UnitOfWork, new_run: NewRun) -> UUID:
    """Create a QUEUED run, or find the run that was created with its idempotency key; returns its ID.

    Raises:
        RunNotFoundError: the parent run does not exist.
        ParentNotLiveError: the parent run has ended.
        InvalidArgumentError: the run would be nested too deep.
        CallbackEndpointMissingError, SecretKeysMissingError: the run has a callback, which cannot be signed or stored.
        IdempotencyConflictError: the earlier run with this key was created with other arguments.
        QuotaExceededError: the earlier run with this key exceeded the quota, which is still used up.
    """
    target = new_run.target
    if (earlier := new_run.idempotency.take(uow, target.project_id)).run_id is not None:
        return earlier.run_id
    columns = with_defaults({**new_run.values, **new_run.idempotency.values})
    columns |= {
        "project_id": target.project_id,
        "flow_id": target.flow_id,
        "flow_version_id": target.version_id,
        "trigger_method": new_run.trigger_method,
        "started_by": new_run.started_by.text,
    }
    if new_run.parent_id is not None:
        # This lock precedes all others. A refusal by the quota may fail the parent, and so end other runs.
        families.lock_of_runs(uow, [new_run.parent_id], exclusive=bool(new_run.values.get("fail_parent_on_failure")))
        families.lock_runs(uow, [new_run.parent_id])
        parent = _live_parent(uow, new_run.parent_id, target.project_id)
        columns |= {"parent_run_id": new_run.parent_id, "root_run_id": parent.root_run_id, "depth": parent.depth + 1}
    transitions.create(uow, columns, f"Flow started via {new_run.trigger_method.lower()}")
    run_id: UUID = columns["id"]
    if new_run.callback is not None:
        new_run.callback.add(uow, run_id, target.project_id)
    if new_run.requested is not None:
        audit_events.record(uow, new_run.requested, AuditAction.START_RUN, IdKind.RUN, run_id, target.project_id)
    return run_id


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` with a new ID and the columns that start with the same value in every run."""
    run_id = ids.new_uuid()
    return {
        "id": run_id,
        "root_run_id": run_id,
        "created_at": ids.created_at(run_id),
        "attempt": 1,
        "interruptions": 0,
        **values,
    }


async def create_idempotent(
    database: Database, create_run: Callable[Concatenate[UnitOfWork, P], UUID], /, *args: P.args, **kwargs: P.kwargs
) -> UUID:
    """Returns the result of `create_run(uow, …)`, which looks for an earlier run with its key before it creates one.

    Raises:
        QuotaExceededError: the new run exceeds the project's quota.
    """
    try:
        run_id, is_refused = await database.write(_create_and_charge, create_run, *args, **kwargs)
    except ConflictError:
        # Another request with the same key committed between the read and the insert. The second try finds its run.
        run_id, is_refused = await database.write(_create_and_charge, create_run, *args, **kwargs)
    if is_refused:
        raise QuotaExceededError(run_id)
    return run_id


def _create_and_charge(
    uow: UnitOfWork, create_run: Callable[Concatenate[UnitOfWork, P], UUID], /, *args: P.args, **kwargs: P.kwargs
) -> tuple[UUID, bool]:
    run_id = create_run(uow, *args, **kwargs)
    return run_id, run_id in cancellation.apply_quota(uow)


def _live_parent(uow: UnitOfWork, parent_id: UUID, project_id: UUID) -> run_reads.ParentRun:
    """Returns the parent run, which the transaction has locked: it cannot end before the transaction does."""
    parent = run_reads.parent(uow.conn, parent_id, project_id)
    if parent is None:
        raise RunNotFoundError("No parent run with this ID exists, or the API key cannot see it.")
    if parent.status not in LIVE:
        raise ParentNotLiveError
    if parent.depth >= MAX_RUN_DEPTH:
        raise InvalidArgumentError(f"Runs can be nested at most {MAX_RUN_DEPTH} deep.")
    return parent
