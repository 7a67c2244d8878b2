"""Reads and inserts of flow runs. Their status is changed in transitions.py alone."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, exists, func, literal, select, union_all, update

from db.models import FlowRun
from db.models.types import sort_key, table
from db.runs.filter import matches
from db.sql.any_of import any_of
from db.sql.keyset import Edge, Keyset, Page
from db.sql.rows import AnyRow, group_by, select_columns
from domain.run_filter import RunFilter, RunOrder, RunOrderField
from domain.state_machine import UNSUCCESSFUL

_table = table(FlowRun)
_run = _table.c

SORT_COLUMNS: dict[RunOrderField, str | None] = {
    RunOrderField.CREATED_AT: None,
    RunOrderField.STARTED_AT: "started_at",
    RunOrderField.FINISHED_AT: "finished_at",
    RunOrderField.DURATION: "duration_ms",
}
"""The column that an order sorts by; None where IDs alone are in that order."""
_MAX_PROBES = 500
"""SELECTs that SQLite takes in one UNION."""


def keyset(order: RunOrder) -> Keyset:
    """The keyset of `order`."""
    column = SORT_COLUMNS[order.field]
    return Keyset(_run.id, sort_key(_run[column]) if column else None, order.descending)


def page(
    conn: Connection, columns: Collection[str], wanted: RunFilter, order: RunOrder, page: Page
) -> Sequence[AnyRow]:
    """The runs of one page, in `order`; of a backward page too."""
    query = keyset(order).slice(select(*_page_columns(columns, order)).where(matches(wanted, conn.dialect.name)), page)
    rows = conn.execute(query).all()
    return rows[::-1] if page.backward else rows


def has_more(conn: Connection, wanted: RunFilter, order: RunOrder, edge: Edge) -> bool:
    """Whether the filter means a run beyond `edge`."""
    keys = keyset(order)
    query = select(_run.id).where(matches(wanted, conn.dialect.name), keys.beyond(edge))
    return conn.execute(query.order_by(*keys.order(backward=edge.before)).limit(1)).first() is not None


def count(conn: Connection, wanted: RunFilter, limit: int | None) -> int:
    """How many runs the filter means; stops counting at `limit`."""
    query = select(_run.id).where(matches(wanted, conn.dialect.name))
    if limit is not None:
        query = query.limit(limit)
    return conn.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def pages_by(
    conn: Connection, owners: Sequence[UUID], link: str, columns: Collection[str], order: RunOrder, page: Page
) -> Mapping[UUID, list[AnyRow]]:
    """For each of `owners` the page of runs whose column `link` names it, in one statement."""
    keys = keyset(order)
    rank = func.row_number().over(partition_by=_run[link], order_by=keys.order(backward=page.backward))
    ranked = select(*_page_columns({*columns, link}, order), rank.label("rank")).where(_run[link].in_(owners))
    ranked = ranked.where(*keys.within(page))
    inner = ranked.subquery()
    direction = inner.c.rank.desc() if page.backward else inner.c.rank
    return group_by(conn.execute(select(inner).where(inner.c.rank <= page.limit).order_by(direction)).all(), link)


def owners_with_more(
    conn: Connection, edges: Sequence[tuple[UUID, Edge]], link: str, order: RunOrder
) -> Mapping[tuple[UUID, Edge], bool]:
    """Of the owners and edges, those where a run that names the owner in `link` stands beyond the edge."""
    keys = keyset(order)
    probes = [
        select(literal(number)).where(exists().where(_run[link] == owner, keys.beyond(edge)))
        for number, (owner, edge) in enumerate(edges)
    ]
    found: list[int] = []
    for start in range(0, len(probes), _MAX_PROBES):
        found += conn.execute(union_all(*probes[start : start + _MAX_PROBES])).scalars()
    return dict.fromkeys((edges[number] for number in found), True)


def counts_by(conn: Connection, owners: Sequence[UUID], link: str) -> Mapping[UUID, int]:
    """How many runs name each of `owners` in their column `link`."""
    query = select(_run[link], func.count()).where(_run[link].in_(owners)).group_by(_run[link])
    return dict(conn.execute(query).all())


def by_ids(conn: Connection, keys: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, AnyRow]:
    """The runs `keys`, archived ones too."""
    query = select(*select_columns(_table, {*columns, "project_id"})).where(_run.id.in_(keys))
    return {row.id: row for row in conn.execute(query)}


def matching(conn: Connection, keys: Sequence[UUID], wanted: RunFilter) -> set[UUID]:
    """Of the runs `keys`, those that the filter means."""
    query = select(_run.id).where(_run.id.in_(keys), matches(wanted, conn.dialect.name))
    return set(conn.execute(query).scalars())


def by_idempotency_key(conn: Connection, project_id: UUID, key: str) -> AnyRow | None:
    """The run that was created under `key`: its `id`, `status` and `request_hash`."""
    query = select(_run.id, _run.status, _run.request_hash).where(
        _run.project_id == project_id, _run.idempotency_key == key
    )
    return conn.execute(query).first()


def children(conn: Connection, parents: Sequence[UUID]) -> Sequence[UUID]:
    """The runs that one of `parents` started."""
    return conn.execute(select(_run.id).where(any_of(_run.parent_run_id, parents))).scalars().all()


def failing_their_parents(conn: Connection, keys: Sequence[UUID]) -> Sequence[AnyRow]:
    """Of the runs `keys`, those that ended without success and fail a parent of which no step waits for them."""
    query = select(_run.id, _run.status, _run.parent_run_id).where(
        any_of(_run.id, keys),
        _run.status.in_(sorted(UNSUCCESSFUL)),
        _run.fail_parent_on_failure.is_(True),
        _run.parent_run_id.is_not(None),
        _run.parent_position.is_(None),
    )
    return conn.execute(query.order_by(_run.id)).all()


def mark_recovered(conn: Connection, run_id: UUID) -> Sequence[AnyRow]:
    """Note in every run of the chain that ends in `run_id`, which succeeded, that it was recovered.

    Returns them: `id`, `project_id`, `flow_id`.
    """
    chain = select(_run.retry_of_id.label("id")).where(_run.id == run_id).cte("chain", recursive=True)
    chain = chain.union_all(select(_run.retry_of_id).join(chain, _run.id == chain.c.id))
    return conn.execute(
        update(_table)
        .where(_run.id.in_(select(chain.c.id).where(chain.c.id.is_not(None))))
        .values(recovered_by_id=run_id)
        .returning(_run.id, _run.project_id, _run.flow_id)
    ).all()


def parent(conn: Connection, run_id: UUID, project_id: UUID) -> AnyRow | None:
    """The project's run `run_id`: its `status`, `root_run_id` and `depth`, locked against its end."""
    query = select(_run.status, _run.root_run_id, _run.depth).where(_run.id == run_id, _run.project_id == project_id)
    return conn.execute(query.with_for_update(read=True)).first()


def _page_columns(columns: Collection[str], order: RunOrder) -> list[Any]:
    sorted_by = SORT_COLUMNS[order.field]
    return select_columns(_table, {*columns, sorted_by} if sorted_by else columns)
