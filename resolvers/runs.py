"""Reads of flow runs and of what hangs on them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from db import flows, projects
from db.events import log as event_log
from db.runs import reads as run_reads
from db.runs import steps
from db.sql.keyset import Edge, Position, sort_value
from db.sql.rows import AnyRow
from domain import ids
from domain.ids import IdKind
from domain.run_filter import RunFilter, RunOrder, RunOrderField
from resolvers import authorize
from resolvers.context import Context
from resolvers.pagination import ConnectionPage, PageArguments

Columns = frozenset[str]

_ORDERINGS = {
    RunOrder(field, descending): 2 * number + descending
    for number, field in enumerate(RunOrderField)
    for descending in (False, True)
}
"""The number by which a cursor names its ordering."""

CHILDREN = "parent_run_id"
RETRIES = "retry_of_id"
OLDEST_FIRST = RunOrder(descending=False)


async def get(context: Context, run_id: str, columns: Columns) -> AnyRow | None:
    """The run `run_id`; None when there is none that the viewer sees.

    Raises:
        InvalidIdError: `run_id` is not the ID of a run.
    """
    row = await context.loaders.load(run_reads.by_ids, ids.decode(IdKind.RUN, run_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def by_key(context: Context, key: UUID | None, columns: Columns) -> AnyRow | None:
    """The run that another run of the same project names."""
    return await context.loaders.load(run_reads.by_ids, key, columns) if key is not None else None


def scoped(context: Context, wanted: RunFilter) -> RunFilter:
    """`wanted`, among the projects that the viewer sees."""
    return replace(wanted, project_ids=authorize.visible_projects(context.viewer, wanted.project_ids))


async def page(
    context: Context, wanted: RunFilter, order: RunOrder, arguments: PageArguments, columns: Collection[str]
) -> ConnectionPage:
    """A page of the runs meant by `wanted`, a scoped filter."""
    ordering = _ORDERINGS[order]
    asked = arguments.page(ordering)
    rows = await context.database.read(run_reads.page, columns, wanted, order, asked)
    return ConnectionPage(
        asked,
        rows,
        position=lambda row: _position(row, order),
        ordering=ordering,
        any_beyond=lambda edge: context.database.read(run_reads.has_more, wanted, order, edge),
    )


async def count(context: Context, wanted: RunFilter, limit: int | None) -> int:
    """How many runs are meant by `wanted`, a scoped filter; counted up to `limit`."""
    return await context.database.read(run_reads.count, wanted, limit)


async def linked_page(
    context: Context, link: str, owner: UUID, arguments: PageArguments, columns: Columns
) -> ConnectionPage:
    """A page of the runs that name `owner` in their column `link`, oldest first; batched over owners."""
    ordering = _ORDERINGS[OLDEST_FIRST]
    asked = arguments.page(ordering)
    rows = await context.loaders.load(run_reads.pages_by, owner, link, columns, OLDEST_FIRST, asked)

    async def any_beyond(edge: Edge) -> bool:
        key = (owner, edge)
        return bool(await context.loaders.load(run_reads.owners_with_more, key, link, OLDEST_FIRST))

    return ConnectionPage(
        asked,
        rows or [],
        position=lambda row: _position(row, OLDEST_FIRST),
        ordering=ordering,
        any_beyond=any_beyond,
    )


async def linked_count(context: Context, link: str, owner: UUID, limit: int | None) -> int:
    """How many runs name `owner` in their column `link`; at most `limit`."""
    number = await context.loaders.load(run_reads.counts_by, owner, link) or 0
    return number if limit is None else min(number, limit)


async def project(context: Context, key: UUID, columns: Columns) -> AnyRow:
    """The project that a row of ours names."""
    return _found(await context.loaders.load(projects.by_ids, key, columns))


async def flow(context: Context, key: UUID, columns: Columns) -> AnyRow:
    """The flow that a row of ours names."""
    return _found(await context.loaders.load(flows.by_ids, key, columns))


async def flow_version(context: Context, key: UUID, columns: Columns) -> AnyRow:
    """The flow version that a row of ours names."""
    return _found(await context.loaders.load(flows.versions_by_ids, key, columns))


async def status_history(context: Context, run_id: UUID) -> Sequence[AnyRow]:
    """The status changes of a run, oldest first."""
    return await context.loaders.load(event_log.status_changes_by_runs, run_id) or []


async def step_results(context: Context, run_id: UUID, columns: Columns) -> Sequence[AnyRow]:
    """The step results of a run, in the order of its definition."""
    return await context.loaders.load(steps.by_runs, run_id, columns) or []


async def step_result(context: Context, run_id: UUID, name: str, columns: Columns) -> AnyRow | None:
    """The result of the step `name` of a run."""
    # No step is called so, and PostgreSQL's text cannot hold it.
    return None if "\0" in name else await context.loaders.load(steps.by_names, (run_id, name), columns)


async def steps_count(context: Context, run_id: UUID) -> int:
    """How many steps of a run have a result."""
    return await context.loaders.load(steps.counts_by_runs, run_id) or 0


async def attempts(context: Context, run_id: UUID, position: int) -> Sequence[AnyRow]:
    """The attempts at the step at `position`, oldest first."""
    return await context.loaders.load(steps.attempts_by_steps, (run_id, position)) or []


def _position(row: AnyRow, order: RunOrder) -> Position:
    return Position(sort_value(row, run_reads.SORT_COLUMNS[order.field]), row.id)


def _found(row: AnyRow | None) -> AnyRow:
    # Foreign keys see to it.
    assert row is not None
    return row
