"""Changes the tags, metadata and note of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit_events
from db.core.unit_of_work import UnitOfWork
from db.runs import changes
from domain import ids, json_codec
from domain.actor import Origin
from domain.audit import AuditAction
from domain.errors import InvalidArgumentError, RunNotFoundError
from domain.ids import IdKind
from resolvers import authorize, values
from resolvers.context import Context, Viewer

MAX_NOTE_LENGTH = 2_000
"""Largest number of characters of a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """A client's request to change a run."""

    tags: Sequence[str] | None = None
    """All tags of the run from now on; None: they stay, apart from the next two."""
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    columns: dict[str, Any]
    """The values of `metadata` and `note` that the client gives."""


async def change(context: Context, run_id: str, requested: RunChange) -> UUID:
    """Changes a run; returns its key. What is already so is no change.

    Raises:
        InvalidIdError, RunNotFoundError, InvalidArgumentError, InputTooLargeError, NumberOutOfRangeError.
    """
    key = ids.decode(IdKind.RUN, run_id)
    if requested.tags is not None and (requested.add_tags or requested.remove_tags):
        raise InvalidArgumentError("Give either `tags`, or `addTags` and `removeTags`.")
    columns = dict(requested.columns)
    if "metadata" in columns:
        columns["metadata"] = values.encode_metadata(columns["metadata"])
    note = columns.get("note")
    if note is not None and (not 1 <= len(note) <= MAX_NOTE_LENGTH or "\0" in note):
        raise InvalidArgumentError(f"`note` must have 1 to {MAX_NOTE_LENGTH:,} characters, none of them U+0000.")
    await context.database.write(_change, context.viewer, context.origin, key, requested, columns)
    return key


def _is_other(name: str, old: Any, new: Any) -> bool:
    # PostgreSQL sorts the members of a document.
    return bool(json_codec.decode(old) != json_codec.decode(new) if name == "metadata" else old != new)


def _change(
    uow: UnitOfWork, viewer: Viewer, origin: Origin, key: UUID, requested: RunChange, columns: dict[str, Any]
) -> None:
    run = changes.lock(uow, key)
    if run is None or not authorize.can_see(viewer, run):
        raise RunNotFoundError
    tags = requested.tags if requested.tags is not None else [*run.tags, *requested.add_tags]
    removed = set(requested.remove_tags)
    columns = {"tags": values.check_tags([tag for tag in tags if tag not in removed]), **columns}
    changed = {name: value for name, value in columns.items() if _is_other(name, getattr(run, name), value)}
    if not changed:
        return
    changes.change(uow, run, changed)
    details = audit_events.changes({"tags": run.tags}, changed, withheld=("metadata", "note"))
    audit_events.record(
        uow, origin, AuditAction.UPDATE_RUN, IdKind.RUN, run.id, run.project_id, flow_id=run.flow_id, details=details
    )
