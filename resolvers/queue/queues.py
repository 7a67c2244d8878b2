"""Reads the queue, in groups."""

from collections.abc import Sequence

from db.queue import backlog
from db.queue.backlog import Backlog
from domain import ids
from domain.enums import QueueGroup
from domain.ids import IdKind
from resolvers import authorize
from resolvers.context import Context
from resolvers.flow_runs.stats import checked_size

MAX_QUEUES = 1_000
"""Groups in one response."""
DEFAULT_QUEUES = 100
"""Groups, unless the client gives `first`."""


async def groups(
    context: Context, group: QueueGroup, project_ids: Sequence[str] | None, first: int
) -> Sequence[Backlog]:
    """Returns the groups of the runs in the queue that the viewer sees, the longest first.

    Raises:
        InvalidIdError: a project's ID is invalid.
        InvalidArgumentError: `first` is out of range.
    """
    at_most = checked_size("first", first, MAX_QUEUES)
    named = None if project_ids is None else [ids.decode(IdKind.PROJECT, text) for text in project_ids]
    visible = authorize.visible_projects(context.viewer, named)
    return await context.database.read(backlog.read, group, visible, at_most)
