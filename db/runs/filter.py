"""From a RunFilter to SQL."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from string import ascii_lowercase, ascii_uppercase
from typing import cast

from sqlalchemy import ColumnElement, Text, and_, bindparam, false, func, or_, select, true

from db.models import FlowRun
from db.models.types import table
from domain import clock, ids
from domain.run_filter import Archived, RunFilter
from domain.state_machine import UNSUCCESSFUL

_run = table(FlowRun).c

_LISTED = {
    "project_ids": _run.project_id,
    "ids": _run.id,
    "flow_ids": _run.flow_id,
    "flow_version_ids": _run.flow_version_id,
    "statuses": _run.status,
    "environments": _run.environment,
    "trigger_methods": _run.trigger_method,
    "external_ids": _run.external_id,
}
_EQUAL = {
    "failed_step_name": _run.failed_step_name,
    "error_fingerprint": _run.error_fingerprint,
    "parent_run_id": _run.parent_run_id,
    "retry_of_id": _run.retry_of_id,
}
_HUNDRED_YEARS_MS = 100 * 366 * 24 * 3600 * 1000
_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)
_TIMES = {"started": _run.started_at, "finished": _run.finished_at}


def matches(wanted: RunFilter, dialect: str, now: datetime | None = None) -> ColumnElement[bool]:
    """The condition that a row of `flow_run` meets when the filter means it.

    Runs that have not ended have lasted until `now`, by default the present instant.
    """
    return and_(
        true(),
        *_listed(wanted),
        *(column == value for name, column in _EQUAL.items() if (value := getattr(wanted, name)) is not None),
        *_times(wanted),
        *_durations(wanted, now or clock.now()),
        *_tags(wanted, dialect),
        *_flags(wanted),
        *_contents(wanted, dialect),
    )


def _listed(wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    for name, column in _LISTED.items():
        values = getattr(wanted, name)
        if values is None:
            continue
        # One value is by far the usual case, and `=` tells the planner that the order of an index can be used.
        yield column == values[0] if len(values) == 1 else column.in_(values)


def _times(wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    # created_at is read from the ID, so the ID's own index answers for it.
    if wanted.created_after is not None:
        yield _run.id >= ids.first_uuid_after(wanted.created_after)
    if wanted.created_before is not None:
        yield _run.id < ids.first_uuid_at(wanted.created_before)
    for name, column in _TIMES.items():
        if (after := getattr(wanted, f"{name}_after")) is not None:
            yield column > after
        if (before := getattr(wanted, f"{name}_before")) is not None:
            yield column < before


def _durations(wanted: RunFilter, now: datetime) -> Iterator[ColumnElement[bool]]:
    running = and_(_run.duration_ms.is_(None), _run.started_at.is_not(None))
    if (least := wanted.min_duration_ms) is not None:
        yield or_(_run.duration_ms >= least, and_(running, _run.started_at <= _before(now, least)))
    if (most := wanted.max_duration_ms) is not None:
        # Until a millisecond is over, it does not count.
        yield or_(_run.duration_ms <= most, and_(running, _run.started_at > _before(now, most + 1)))


def _before(now: datetime, milliseconds: int) -> datetime:
    # No run is older than its database: what is too large for a date is as good as the largest.
    return now - timedelta(milliseconds=min(milliseconds, _HUNDRED_YEARS_MS))


def _tags(wanted: RunFilter, dialect: str) -> Iterator[ColumnElement[bool]]:
    if wanted.tags is not None:
        yield _has_all(list(wanted.tags), dialect) if wanted.tags else false()
    if wanted.any_tags is not None:
        yield _has_any(list(wanted.any_tags), dialect)


def _has_all(tags: list[str], dialect: str) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return and_(*(_has_any([tag], dialect) for tag in tags))
    return _run.tags.op("@>", is_comparison=True)(bindparam(None, tags, type_=_run.tags.type, unique=True))


def _has_any(tags: list[str], dialect: str) -> ColumnElement[bool]:
    if dialect == "sqlite":
        word = func.json_each(_run.tags).table_valued("value")
        return select(1).select_from(word).where(word.c.value.in_(tags)).exists()
    return _run.tags.op("&&", is_comparison=True)(bindparam(None, tags, type_=_run.tags.type, unique=True))


def _flags(wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.roots_only:
        yield _run.parent_run_id.is_(None)
    if wanted.unrecovered:
        yield and_(_run.status.in_(sorted(UNSUCCESSFUL)), _run.recovered_by_id.is_(None))
    if wanted.archived is not Archived.INCLUDE:
        archived = _run.archived_at.is_not(None)
        yield archived if wanted.archived is Archived.ONLY else _run.archived_at.is_(None)


def _contents(wanted: RunFilter, dialect: str) -> Iterator[ColumnElement[bool]]:
    if wanted.error_contains is not None:
        yield _folded_column(dialect).contains(folded(wanted.error_contains), autoescape=True)
    if wanted.metadata is not None:
        yield _metadata_contains(wanted.metadata, dialect)


def folded(text: str) -> str:
    """`text` in which the letters from A to Z are small; others stay, for databases differ over them."""
    return text.translate(_SMALL)


def _folded_column(dialect: str) -> ColumnElement[str]:
    message = cast("ColumnElement[str]", _run.error_message)
    # PostgreSQL folds by the locale of the database, unless told that it is "C".
    return func.lower(message if dialect == "sqlite" else message.collate("C"), type_=Text)


def _metadata_contains(probe: str, dialect: str) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return cast("ColumnElement[bool]", func.json_contains(_run.metadata, bindparam(None, probe, Text, unique=True)))
    return _run.metadata.op("@>", is_comparison=True)(bindparam(None, probe, type_=_run.metadata.type, unique=True))
