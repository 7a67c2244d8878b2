"""Reads of flow runs, their steps and attempts. Only db/runs/transitions.py changes statuses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, func, literal, select, tuple_, union_all, update

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import Latest, sort_key, table
from db.narrowing.narrow import narrow, require_search
from db.narrowing.pages import is_left_alone, may_narrow, narrow_page
from db.narrowing.sqlite import runs_of_term
from db.rollups import answers
from db.row_types import AttemptRow, RunRow, StepRow
from db.runs.filter import matches
from db.search import queries as texts_of_runs
from db.search import switch
from db.sql.any_of import any_of
from db.sql.keyset import Edge, Keyset, Page, count_up_to
from db.sql.rows import fetch_all, group_by, select_columns
from domain.runs.run_filter import RunFilter, RunOrder, RunOrderField
from domain.runs.state_machine import UNSUCCESSFUL
from domain.time import clock

T = TypeVar("T")

_table = table(FlowRun)
_run = _table.c
_steps = table(StepResult)
_step = _steps.c
_attempts = table(StepAttempt)
_attempt = _attempts.c

SORT_COLUMNS: dict[RunOrderField, str | None] = {
    RunOrderField.CREATED_AT: None,
    RunOrderField.STARTED_AT: "started_at",
    RunOrderField.FINISHED_AT: "finished_at",
    RunOrderField.DURATION: "duration_ms",
    RunOrderField.UPDATED_AT: "updated_at",
}
"""The column of each order; None if the order is that of the IDs."""
MAX_PROBES = 500
"""Largest number of SELECTs in one UNION: SQLite accepts no more."""
_NEWEST_FIRST = Keyset(_run.id, None, descending=True)
_STEP_KEYS = ("run_id", "position")


_COMPLETE = select(_table).where(_run.id == bindparam("of_run"))


class IdempotentRun(NamedTuple):
    """A run that was created under an idempotency key."""

    id: UUID
    status: str
    request_hash: str | None


class FailedChild(NamedTuple):
    """A run that ended without success, and its parent."""

    id: UUID
    status: str
    parent_run_id: UUID


class RecoveredRun(NamedTuple):
    """A run with a successful retry."""

    id: UUID
    project_id: UUID
    flow_id: UUID


class ParentRun(NamedTuple):
    """The columns of a parent that the creation of a child run needs."""

    status: str
    root_run_id: UUID
    depth: int


def keyset(order: RunOrder) -> Keyset:
    """Returns the keyset of `order`."""
    name = SORT_COLUMNS[order.field]
    column = None if name is None else _run[name]
    # If every run has a value, the column itself is indexed.
    return Keyset(_run.id, sort_key(column) if column is not None and column.nullable else column, order.descending)


def needs_narrowing(database: Database, where: RunFilter, order: RunOrder, page: Page) -> bool:
    """Returns False if `narrowed_page` would return the filter unchanged, or has lately done so."""
    sorted_by = SORT_COLUMNS[order.field]
    if not may_narrow(where, database.dialect, sorted_by):
        return False
    return not is_left_alone(database.read_pool, where, keyset(order), page, sorted_by)


def narrowed_page(conn: Connection, where: RunFilter, order: RunOrder, page: Page) -> RunFilter:
    """Returns a filter that matches the same runs of the page. It names the runs if that makes the read faster."""
    return narrow_page(conn, where, keyset(order), page, SORT_COLUMNS[order.field])


def page(conn: Connection, columns: Collection[str], where: RunFilter, order: RunOrder, page: Page) -> Sequence[RunRow]:
    """Returns the matching runs of one page, in `order`."""
    keys, sorted_by = keyset(order), SORT_COLUMNS[order.field]
    narrowed = narrow_page(conn, where, keys, page, sorted_by)
    condition = matches(narrowed, conn.dialect.name, sorted_by=sorted_by)
    query = select(*_page_columns(columns, order)).where(condition)
    return keys.page(conn, query, page)


def has_more(conn: Connection, where: RunFilter, order: RunOrder, edge: Edge) -> bool:
    """True if a matching run follows `edge`."""
    keys, sorted_by = keyset(order), SORT_COLUMNS[order.field]
    beyond = Page(1, before=edge.position, backward=True) if edge.before else Page(1, after=edge.position)
    # A page never has inclusive bounds.
    narrowed = narrow(conn, where) if edge.inclusive else narrow_page(conn, where, keys, beyond, sorted_by)
    condition = matches(narrowed, conn.dialect.name, sorted_by=sorted_by)
    return keys.has_more(conn, select(_run.id).where(condition), edge)


def count(conn: Connection, where: RunFilter, limit: int | None) -> int:
    """Returns the number of matching runs. Counting stops at `limit`."""
    counted = answers.counts(conn, where, clock.now())
    if counted is not None:
        number = sum(counted.values())
        return number if limit is None else min(number, limit)
    if (of_term := runs_of_term(conn, where)) is not None:
        return count_up_to(conn, of_term, limit)
    narrowed = narrow(conn, where)
    condition = matches(narrowed, conn.dialect.name, reads_all=True)
    return count_up_to(conn, select(_run.id).where(condition), limit)


def pages_by(
    conn: Connection, owners: Sequence[UUID], link: str, columns: Collection[str], order: RunOrder, page: Page
) -> Mapping[UUID, list[RunRow]]:
    """Returns for each owner the page of runs whose column `link` names it, in one statement."""
    keys = keyset(order)
    rank = func.row_number().over(partition_by=_run[link], order_by=keys.order(backward=page.backward))
    ranked = select(*_page_columns({*columns, link}, order), rank.label("rank")).where(_run[link].in_(owners))
    inner = ranked.where(*keys.within(page)).subquery()
    direction = inner.c.rank.desc() if page.backward else inner.c.rank
    return group_by(fetch_all(conn, select(inner).where(inner.c.rank <= page.limit).order_by(direction)), link)


def owners_with_more(
    conn: Connection, edges: Sequence[tuple[UUID, Edge]], link: str, order: RunOrder
) -> Mapping[tuple[UUID, Edge], bool]:
    """Returns the owners and edges for which a run that names the owner in `link` follows the edge."""
    keys = keyset(order)
    probes = [
        select(literal(number)).where(exists().where(_run[link] == owner, keys.beyond(edge)))
        for number, (owner, edge) in enumerate(edges)
    ]
    numbers: list[int] = []
    for start in range(0, len(probes), MAX_PROBES):
        numbers += conn.execute(union_all(*probes[start : start + MAX_PROBES])).scalars()
    return dict.fromkeys((edges[number] for number in numbers), True)


def counts_by(conn: Connection, owners: Sequence[UUID], link: str) -> Mapping[UUID, int]:
    """Returns the number of runs that name each owner in their column `link`; 0 is omitted."""
    query = select(_run[link], func.count()).where(_run[link].in_(owners)).group_by(_run[link])
    return dict(conn.execute(query).all())


def pages_of(
    conn: Connection, filters: Sequence[RunFilter], columns: Collection[str], page: Page
) -> Mapping[RunFilter, list[RunRow]]:
    """Returns the page of each filter, newest first. Each page is a read of its own, however many runs match its
    filter."""
    require_search(conn, *filters)
    selected = _page_columns(columns, RunOrder())
    pages: dict[RunFilter, list[RunRow]] = {}
    for part in _batches(filters):
        numbered = [
            _NEWEST_FIRST.slice(select(literal(number).label("number"), *selected).where(condition), page)
            for number, condition in enumerate(matches(where, conn.dialect.name) for where in part)
        ]
        rows = union_all(*(select(query.subquery()) for query in numbered)).subquery()
        for row in fetch_all(conn, select(rows).order_by(rows.c.number, rows.c.id.desc())):
            pages.setdefault(part[row.number], []).append(row)
    return pages


def with_more(conn: Connection, edges: Sequence[tuple[RunFilter, Edge]]) -> Mapping[tuple[RunFilter, Edge], bool]:
    """Returns the filters and edges, newest first, for which a matching run follows the edge."""
    require_search(conn, *(where for where, _ in edges))
    found: list[tuple[RunFilter, Edge]] = []
    for part in _batches(edges):
        probes = [
            select(literal(number)).where(exists().where(matches(where, conn.dialect.name), _NEWEST_FIRST.beyond(edge)))
            for number, (where, edge) in enumerate(part)
        ]
        found += (part[number] for number in conn.execute(union_all(*probes)).scalars())
    return dict.fromkeys(found, True)


def counts_of(conn: Connection, filters: Sequence[RunFilter], limit: int | None) -> Mapping[RunFilter, int]:
    """Returns the number of runs that match each filter. Counting stops at `limit`."""
    require_search(conn, *filters)
    counts: dict[RunFilter, int] = {}
    for part in _batches(filters):
        counted = [
            select(literal(number), func.count()).select_from(
                select(_run.id).where(matches(where, conn.dialect.name)).limit(limit).subquery()
            )
            for number, where in enumerate(part)
        ]
        counts |= {part[number]: count for number, count in conn.execute(union_all(*counted))}
    return counts


def by_ids(
    conn: Connection, keys: Sequence[UUID], columns: Collection[str], searched: Collection[str] = ()
) -> Mapping[UUID, RunRow]:
    """Returns the runs `keys`, archived ones too, with `id` and `project_id`.

    With `found_texts` too if there are `searched` texts, folded, and the search is on: those that texts of the run
    contain; null for none.
    """
    selected = select_columns(_table, {*columns, "project_id"})
    if searched and switch.is_on(conn):
        selected.append(texts_of_runs.found_of_run(sorted(searched), conn.dialect.name).label("found_texts"))
    query = select(*selected).where(_run.id.in_(keys))
    return {row.id: row for row in fetch_all(conn, query)}


def matching(conn: Connection, keys: Sequence[UUID], where: RunFilter) -> set[UUID]:
    """Returns the runs among `keys` that match the filter."""
    query = select(_run.id).where(_run.id.in_(keys), matches(where, conn.dialect.name))
    return set(conn.execute(query).scalars())


def steps_by_runs(conn: Connection, run_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[StepRow]]:
    """Returns the step results of each run in the order of its definition, with `run_id` and `position`."""
    query = select(*select_columns(_steps, columns, always=_STEP_KEYS)).where(_step.run_id.in_(run_ids))
    return group_by(fetch_all(conn, query.order_by(_step.run_id, _step.position)), "run_id")


def steps_by_names(
    conn: Connection, keys: Sequence[tuple[UUID, str]], columns: Collection[str]
) -> Mapping[tuple[UUID, str], StepRow]:
    """Returns the step results with the keys of run and step name, with `run_id`, `position` and `name`."""
    # PostgreSQL's text cannot hold U+0000, so no step has a name that contains it.
    names = {name for _, name in keys if "\0" not in name}
    # The product of runs and names has more rows than requested; a comparison of pairs would not use SQLite's key.
    runs = {run for run, _ in keys}
    query = select(*select_columns(_steps, {*columns, "name"}, always=_STEP_KEYS))
    rows = fetch_all(conn, query.where(_step.run_id.in_(runs), _step.name.in_(names)))
    return {(row.run_id, row.name): row for row in rows}


def step_counts_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """Returns the number of steps with a result of each run; 0 is omitted."""
    query = select(_step.run_id, func.count()).where(_step.run_id.in_(run_ids)).group_by(_step.run_id)
    return dict(conn.execute(query).all())


def attempts_by_steps(
    conn: Connection, keys: Sequence[tuple[UUID, int]]
) -> Mapping[tuple[UUID, int], list[AttemptRow]]:
    """Returns the attempts at each step, with the key of run and position, oldest first."""
    # The condition on runs is redundant, but a comparison of pairs alone would not use SQLite's primary key.
    of_runs = _attempt.run_id.in_({run for run, _ in keys})
    query = select(_attempts).where(of_runs, tuple_(_attempt.run_id, _attempt.position).in_(keys))
    groups: dict[tuple[UUID, int], list[AttemptRow]] = {}
    for row in fetch_all(conn, query.order_by(_attempt.run_id, _attempt.number)):
        groups.setdefault((row.run_id, row.position), []).append(row)
    return groups


def by_idempotency_key(conn: Connection, project_id: UUID, key: str) -> IdempotentRun | None:
    """Returns the run of the project that was created under `key`."""
    query = select(_run.id, _run.status, _run.request_hash).where(
        _run.project_id == project_id, _run.idempotency_key == key
    )
    row = conn.execute(query).first()
    return IdempotentRun(*row) if row is not None else None


def complete(conn: Connection, run_id: UUID) -> RunRow:
    """Returns the run `run_id`, which must exist, with all its columns."""
    row: RunRow = conn.execute(_COMPLETE, {"of_run": run_id}).one()
    return row


def children(conn: Connection, parents: Sequence[UUID]) -> Sequence[UUID]:
    """Returns the runs that one of `parents` started."""
    return conn.execute(select(_run.id).where(any_of(_run.parent_run_id, parents))).scalars().all()


def failing_their_parents(conn: Connection, keys: Sequence[UUID]) -> Sequence[FailedChild]:
    """Returns the runs among `keys` that ended without success and fail a parent that does not wait for them."""
    query = select(_run.id, _run.status, _run.parent_run_id).where(
        any_of(_run.id, keys),
        _run.status.in_(sorted(UNSUCCESSFUL)),
        _run.fail_parent_on_failure.is_(True),
        _run.parent_run_id.is_not(None),
        _run.parent_position.is_(None),
        # Only runs that clients started below a parent count: other children of steps, and retries, are detached.
        _run.item_index.is_(None),
        _run.retry_of_id.is_(None),
    )
    return [FailedChild(*row) for row in conn.execute(query.order_by(_run.id))]


def mark_recovered(uow: UnitOfWork, run_id: UUID, now: datetime) -> Sequence[RecoveredRun]:
    """Marks the runs that the succeeded run `run_id` retries, directly or through other retries; returns them."""
    chain = select(_run.retry_of_id.label("id")).where(_run.id == run_id).cte("chain", recursive=True)
    chain = chain.union_all(select(_run.retry_of_id).join(chain, _run.id == chain.c.id))
    statement = (
        update(_table)
        .where(_run.id.in_(select(chain.c.id).where(chain.c.id.is_not(None))))
        .values(recovered_by_id=run_id, updated_at=Latest(literal(now, _run.updated_at.type), _run.updated_at))
        .returning(_run.id, _run.project_id, _run.flow_id)
    )
    return [RecoveredRun(*row) for row in uow.conn.execute(statement)]


def parent(conn: Connection, run_id: UUID, project_id: UUID) -> ParentRun | None:
    """Returns the project's run `run_id`."""
    query = select(_run.status, _run.root_run_id, _run.depth).where(_run.id == run_id, _run.project_id == project_id)
    row = conn.execute(query).first()
    return ParentRun(*row) if row is not None else None


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + MAX_PROBES] for start in range(0, len(items), MAX_PROBES))


def _page_columns(columns: Collection[str], order: RunOrder) -> list[Any]:
    sorted_by = SORT_COLUMNS[order.field]
    return select_columns(_table, {*columns, sorted_by} if sorted_by else columns)
