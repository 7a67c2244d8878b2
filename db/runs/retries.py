"""Retries: the one rule that says whether a run can be retried, and what a retry carries over.

The rule is SQL, so that it judges one run, those of a page, and those of a bulk operation alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, FromClause, Text, case, cast, func, literal, select

from db.models import Flow, FlowRun, Project
from db.models.types import table
from db.sql.rows import AnyRow
from domain.enums import RetryStrategy
from domain.errors import ErrorCode
from domain.state_machine import UNSUCCESSFUL

_runs = table(FlowRun)
_run = _runs.c
_flows = table(Flow)
_flow = _flows.c
_projects = table(Project)
_project = _projects.c

CARRIED_OVER = (
    "project_id",
    "flow_id",
    "environment",
    "scheduled_for",
    "parent_run_id",
    "fail_parent_on_failure",
    "depth",
    "external_id",
    "source",
    "tags",
    "metadata",
    "input",
)
"""Columns that a retry has from the run that it retries; `root_run_id` too, where that has a parent."""
_DESCRIPTIONS = {
    RetryStrategy.FROM_FAILED_STEP: "from its failed step",
    RetryStrategy.ON_LATEST_VERSION: "on the latest version",
}

WITH_FLOWS: FromClause = _runs.join(_flows, _flow.id == _run.flow_id).join(_projects, _project.id == _run.project_id)
"""Runs with all that decides whether they can be retried."""


def refusal(strategy: RetryStrategy) -> ColumnElement[str | None]:
    """The code of the error that refuses to retry a row of WITH_FLOWS; null when it can be retried."""
    if strategy is RetryStrategy.FROM_FAILED_STEP:
        last = (_run.steps_purged_at.is_not(None), ErrorCode.STEP_DATA_EXPIRED.value)
    else:
        last = (_flow.published_version_id.is_(None), ErrorCode.FLOW_NOT_PUBLISHED.value)
    return case(
        (_run.status.not_in(sorted(UNSUCCESSFUL)), ErrorCode.RUN_NOT_RETRYABLE.value),
        (_run.attempt > _project.retry_limit, ErrorCode.RETRY_LIMIT_REACHED.value),
        (_flow.enabled.is_(False), ErrorCode.FLOW_DISABLED.value),
        last,
        else_=None,
    )


def version(strategy: RetryStrategy) -> ColumnElement[UUID]:
    """The flow version that a retry of a row of WITH_FLOWS executes."""
    return _run.flow_version_id if strategy is RetryStrategy.FROM_FAILED_STEP else _flow.published_version_id


def message(strategy: RetryStrategy, run_id: str) -> str:
    """How the history of a retry begins; `run_id` is that of the old run, as clients see it."""
    return f"Retry of {run_id} {_DESCRIPTIONS[strategy]}"


def message_sql(strategy: RetryStrategy, prefix: str, key: ColumnElement[UUID]) -> ColumnElement[str]:
    """The same as `message`, of the run whose ID is in the column `key`; `prefix` is that of its kind."""
    return (
        literal(f"Retry of {prefix}_") + func.replace(cast(key, Text), "-", "") + literal(f" {_DESCRIPTIONS[strategy]}")
    )


def lock(conn: Connection, run_id: UUID, strategy: RetryStrategy) -> AnyRow | None:
    """A run with all that a retry carries over, its project's `retry_limit`, the `refusal` and the `version`."""
    judged = (refusal(strategy).label("refusal"), version(strategy).label("version"))
    query = select(*_runs.c, _project.retry_limit, *judged).select_from(WITH_FLOWS)
    return conn.execute(query.where(_run.id == run_id).with_for_update(read=True, of=_runs)).first()


def judged_by_runs(conn: Connection, run_ids: Sequence[UUID]) -> Mapping[UUID, AnyRow]:
    """Of each run the refusal of each strategy, and what it says it by."""
    refusals = [refusal(strategy).label(strategy.value) for strategy in RetryStrategy]
    columns = (_run.id, _run.status, _run.attempt, _project.retry_limit, _flow.published_version_id, *refusals)
    query = select(*columns).select_from(WITH_FLOWS).where(_run.id.in_(run_ids))
    return {row.id: row for row in conn.execute(query)}


def root_of(new_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """The `root_run_id` of a retry with the ID `new_id`."""
    return case((_run.parent_run_id.is_(None), new_id), else_=_run.root_run_id)
