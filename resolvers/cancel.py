"""Cancels runs."""

from uuid import UUID

from db.runs import reads as run_reads
from db.runs import step_journal
from domain import ids
from domain.errors import RunNotCancellableError, RunNotFoundError
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context


async def cancel(context: Context, run_id: str) -> UUID:
    """Cancels a run and its live descendants; returns its key. Workers abort their steps.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotCancellableError.
    """
    key = ids.decode(IdKind.RUN, run_id)
    run = (await context.database.read(run_reads.by_ids, [key], frozenset({"status"}))).get(key)
    if run is None or not authorize.can_see(context.viewer, run):
        raise RunNotFoundError
    message = step_journal.cancelled_with(context.viewer.name)
    if not await context.database.write(step_journal.stop, key, message):
        raise RunNotCancellableError
    return key
