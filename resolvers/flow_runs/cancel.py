"""Cancels runs."""

from uuid import UUID

from db.runs import cancellation
from domain.errors import RunNotCancellableError
from resolvers.context import Context
from resolvers.flow_runs import runs


async def cancel(context: Context, run_id: str) -> UUID:
    """Cancels a run and all its live descendants; returns its ID. Workers abort the steps that they execute for them.

    Raises:
        InvalidIdError, RunNotFoundError, RunNotCancellableError.
    """
    run = await runs.get_existing(context, run_id, frozenset())
    if not await context.database.write(cancellation.stop, run.id, cancellation.message_for(context.viewer.name)):
        raise RunNotCancellableError
    return run.id
