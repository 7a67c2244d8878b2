"""Reads of step results and their attempts, and the copies that a retry keeps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    and_,
    func,
    insert,
    or_,
    select,
    tuple_,
)

from db.models import FlowRun, StepAttempt, StepResult
from db.models.types import table
from db.sql.any_of import any_of
from db.sql.rows import AnyRow, group_by, select_columns
from domain.definition import MAX_STEPS
from domain.enums import StepStatus

_results = table(StepResult)
_step = _results.c
_runs = table(FlowRun)
_run = _runs.c
_attempts = table(StepAttempt)
_attempt = _attempts.c

_IDENTITY = ("run_id", "position")
_DONE = (StepStatus.SUCCEEDED, StepStatus.SKIPPED, StepStatus.FAILED)
"""A step with one of these, and at which the run did not end, is not done again: a failed one let the run go on."""


def by_runs(conn: Connection, run_ids: Sequence[UUID], columns: Collection[str]) -> Mapping[UUID, list[AnyRow]]:
    """The step results of each run, in the order of the definition."""
    query = select(*select_columns(_results, columns, always=_IDENTITY)).where(_step.run_id.in_(run_ids))
    return group_by(conn.execute(query.order_by(_step.run_id, _step.position)), "run_id")


def by_names(
    conn: Connection, keys: Sequence[tuple[UUID, str]], columns: Collection[str]
) -> Mapping[tuple[UUID, str], AnyRow]:
    """The step results called by run and step name."""
    # The keys' product with the names, narrowed below: row-wise IN would not use SQLite's primary key.
    runs, names = {run for run, _ in keys}, {name for _, name in keys}
    query = select(*select_columns(_results, {*columns, "name"}, always=_IDENTITY))
    rows = conn.execute(query.where(_step.run_id.in_(runs), _step.name.in_(names)))
    return {(row.run_id, row.name): row for row in rows}


def attempts_by_steps(conn: Connection, keys: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], list[AnyRow]]:
    """The attempts at each step, called by run and position, oldest first."""
    # The runs once more: a comparison of pairs alone would not use SQLite's primary key.
    of_runs = _attempt.run_id.in_({run for run, _ in keys})
    query = select(_attempts).where(of_runs, tuple_(_attempt.run_id, _attempt.position).in_(keys))
    groups: dict[tuple[UUID, int], list[AnyRow]] = {}
    for row in conn.execute(query.order_by(_attempt.run_id, _attempt.number)):
        groups.setdefault((row.run_id, row.position), []).append(row)
    return groups


def counts_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """How many steps of each run have a result."""
    query = select(_step.run_id, func.count()).where(_step.run_id.in_(run_ids)).group_by(_step.run_id)
    return dict(conn.execute(query).all())


def kept_counts_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, int]:
    """How many steps of each run a retry from the failed step would keep."""
    query = select(_step.run_id, func.count()).where(_step.run_id.in_(run_ids), _kept())
    return dict(conn.execute(query.group_by(_step.run_id)).all())


def copy_kept(conn: Connection, retry_ids: Sequence[UUID]) -> None:
    """Give retries the results that they keep of the runs that they retry, marked with the run that produced them.

    Nothing happened to these steps, so no event tells of them: a retry has them from its beginning.
    """
    conn.execute(_COPY, {"run_ids": retry_ids})


def _kept() -> ColumnElement[bool]:
    """Whether a step stands before the one at which its run ended."""
    return _step.position < _ended_at(_step.run_id, _results)


def _ended_at(run_id: ColumnElement[Any], of: FromClause) -> ColumnElement[int]:
    """The position of the step at which the run ended that the column `run_id` of `of` names."""
    other = _results.alias("other")
    position = (
        select(func.min(other.c.position))
        .join_from(other, _runs, _run.id == other.c.run_id)
        .where(
            other.c.run_id == run_id,
            or_(other.c.name == _run.failed_step_name, other.c.status.not_in(_DONE)),
        )
        .correlate(of)
        .scalar_subquery()
    )
    return func.coalesce(position, MAX_STEPS)


def _copying() -> Insert:
    """Copies of the results that retries keep."""
    retry = _runs.alias("retry")
    kept_before = _ended_at(retry.c.retry_of_id, retry).label("kept_before")
    retried = select(retry.c.id, retry.c.retry_of_id, kept_before).where(any_of(retry.c.id, "run_ids"))
    # Once for each run; as part of the join it would be looked up for each of its steps.
    source = retried.cte("retried").prefix_with("MATERIALIZED")
    same = [column for column in _results.c if column.name not in {"run_id", "reused_from_id"}]
    origin = func.coalesce(_step.reused_from_id, _step.run_id)
    of_run = and_(_step.run_id == source.c.retry_of_id, _step.position < source.c.kept_before)
    rows = select(source.c.id, origin, *same).join_from(source, _results, of_run)
    return insert(_results).from_select(["run_id", "reused_from_id", *(c.name for c in same)], rows)


_COPY = _copying()
