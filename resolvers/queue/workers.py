"""Reads workers. Every key sees them: they execute the runs of all projects."""

from collections.abc import Collection, Sequence

from db.queue import workers
from db.row_types import RunRow, WorkerRow
from db.runs import reads
from domain import ids
from domain.enums import Role, RunStatus, WorkerStatus
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context, Viewer
from resolvers.lists import RowList

_ORDERING = 223
"""The number by which a cursor names the order of workers."""


def list_of(context: Context, statuses: Collection[WorkerStatus] | None) -> RowList:
    """Returns the workers with these statuses (None: all), newest first. An access token sees none."""
    return RowList(context.database, workers.LISTING, [] if context.viewer.scope is not None else statuses, _ORDERING)


async def get(context: Context, worker_id: str, columns: frozenset[str]) -> WorkerRow | None:
    """Returns the worker `worker_id`; None if there is no such worker.

    Raises:
        InvalidIdError: `worker_id` is not the ID of a worker.
    """
    key = ids.decode(IdKind.WORKER, worker_id)
    return None if context.viewer.scope is not None else await context.loaders.load(workers.by_ids, key, columns)


def sees_host(viewer: Viewer) -> bool:
    """True if the viewer sees where workers run: operator keys do, and ADMIN keys of a project."""
    return viewer.project_id is None or viewer.role.includes(Role.ADMIN)


async def runs(context: Context, row: WorkerRow, columns: frozenset[str], first: int) -> Sequence[RunRow]:
    """Returns the runs that a worker executes and the viewer sees, at most `first`."""
    reported = workers.run_ids(row)
    found = await context.database.read(reads.by_ids, reported, columns | {"project_id", "status"}) if reported else {}
    running = [found[each] for each in reported if each in found and found[each].status == RunStatus.RUNNING]
    return [run for run in running if authorize.can_see(context.viewer, run)][:first]
