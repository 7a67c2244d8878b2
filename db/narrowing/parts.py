"""Divides the runs that match a filter into parts of which each is a range of an order.

A walk of an order begins and ends at the bounds of the filter, if these are bounds of the order. Bounds of other times
are not; but no time of a run is before its creation. So a run that was created after an instant has its place in every
order after it too, and a run that finished after it was created after it as well, unless it was there at that instant:
such runs are few, and an index names them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select, true

from db.models import FlowRun
from db.models.types import Timestamp, Unindexed, from_microseconds, sort_key, table, to_microseconds
from db.narrowing import ranges
from db.narrowing.candidates import FEW
from db.sql.keyset import Keyset, Page, Position
from domain import ids
from domain.runs.filter_field import Archived
from domain.runs.run_filter import RunFilter

_run = table(FlowRun).c

DURATION = "duration_ms"
"""The column of the order of durations."""
BOUNDS = {
    None: ("created_after", "created_before"),
    "started_at": ("started_after", "started_before"),
    "finished_at": ("finished_after", "finished_before"),
    "updated_at": ("updated_after", "updated_before"),
}
"""The fields of the filter that are bounds of a time, by its column; None for the creation."""
_NO_TIME = 0
"""The sort value of a run without a time."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of runs."""

    keyset: Keyset
    sorted_by: str | None
    """The column of the order; None for the ID."""


class Part(NamedTuple):
    """Some of the runs that match a filter: a range of an order."""

    where: RunFilter
    first: int | None = None
    """The smallest sort value of the range, if the filter does not say it. Ignored in the order of creation."""
    last: int | None = None
    """The largest sort value of the range, if the filter does not say it."""

    @property
    def is_divided(self) -> bool:
        """True if it is a part of a larger range."""
        return self.first is not None or self.last is not None

    def conditions(self, order: Order) -> list[ColumnElement[bool]]:
        """Returns the conditions of the range that the filter does not say."""
        sort = order.keyset.sort
        if sort is None:
            return []
        is_time = isinstance(sort.type, Timestamp)
        first, last = (from_microseconds(each) if is_time and each is not None else each for each in self[1:])
        if first is not None and first == last:
            return [sort == first]
        return [*([] if first is None else [sort >= first]), *([] if last is None else [sort <= last])]

    def between(self, order: Order, page: Page) -> "Part":
        """Returns the part with the range of the positions of a page.

        PostgreSQL knows how many runs are between two values, but not between two positions.
        """
        first, last = _sides(order, page)
        return self._replace(
            first=self.first if first is None else max(first.value, first.value if self.first is None else self.first),
            last=self.last if last is None else min(last.value, last.value if self.last is None else self.last),
        )

    def clipped(self, order: Order, page: Page) -> "tuple[Part, Page] | None":
        """Returns the part and the page without the bounds of either that are outside the other; None if the page has
        no run of the part.

        Of two bounds on one side, databases may begin a walk at the one that is farther away.
        """
        if order.sorted_by is None or not self.is_divided:
            return self, page
        part, (lower, upper) = self, _sides(order, page)
        if lower is not None:
            if self.last is not None and lower.value > self.last:
                return None
            if self.first is not None and lower.value < self.first:
                lower = None
            else:
                part = part._replace(first=lower.value)
        if upper is not None:
            if self.first is not None and upper.value < self.first:
                return None
            if self.last is not None and upper.value > self.last:
                upper = None
            else:
                part = part._replace(last=upper.value)
        after, before = (upper, lower) if order.keyset.descending else (lower, upper)
        return part, replace(page, after=after, before=before)


def _sides(order: Order, page: Page) -> tuple[Position | None, Position | None]:
    """Returns the positions of a page with the smaller and the larger sort value."""
    return (page.before, page.after) if order.keyset.descending else (page.after, page.before)


class Split(NamedTuple):
    """A division of a filter at an instant: into the runs that were created before it and whose time `key` is not, and
    the rest."""

    key: ColumnElement[Any] | None
    """None for the creation: then there are no such runs."""
    instant: datetime
    where: RunFilter
    rest: Sequence[Part]

    def earlier(self, conn: Connection) -> Sequence[UUID] | None:
        """Returns runs among which those created before the instant are; None if they are many."""
        if self.key is None:
            return ()
        # Another index has the runs in the order of creation: too many are created before an instant.
        run_id, since = Unindexed(_run.id), self.where.created_after
        query = select(_run.id).where(
            _run.project_id.in_(self.where.project_ids or ()),
            self.key >= self.instant,
            run_id < ids.first_uuid_at(self.instant),
            true() if since is None else run_id >= ids.first_uuid_at(since),
        )
        query = query.order_by(self.key, _run.id).limit(FEW + 1)
        keys = conn.execute(query).scalars().all()
        return keys if len(keys) <= FEW else None


def by_end(where: RunFilter, order: Order) -> Sequence[Part]:
    """Returns the parts of a filter by durations in their order: runs that have not ended have no place among those
    that have lasted as long."""
    if order.sorted_by != DURATION or (where.min_duration_ms is None and where.max_duration_ms is None):
        return [Part(where)]
    ended = Part(where, where.min_duration_ms or 0, where.max_duration_ms)
    return [ended, Part(where, ranges.NOT_ENDED, ranges.NOT_ENDED)]


def splits(part: Part, order: Order) -> Iterator[Split]:
    """Yields the ways to divide a part by the filter's bounds of other times than that of the order."""
    if order.sorted_by not in BOUNDS or part.last == _NO_TIME:
        return
    where, (first, last) = part.where, _extent(part, order)
    for column, names in BOUNDS.items():
        after, before = (getattr(where, name) for name in names)
        if column == order.sorted_by:
            continue
        if after is not None and (first is None or first < to_microseconds(after)):
            is_later = where.created_after is not None and where.created_after > after
            created = where if is_later else replace(where, created_after=after)
            rest = [Part(created, to_microseconds(after), last), *_without_time(part, created, order)]
            yield Split(None if column is None else _key(column), after, where, rest)
        if before is not None and order.sorted_by is not None and (last is None or last >= to_microseconds(before)):
            rest = [Part(where, first or _NO_TIME + 1, to_microseconds(before) - 1), *_without_time(part, where, order)]
            yield Split(_key(order.sorted_by), before, where, rest)


def _extent(part: Part, order: Order) -> tuple[int | None, int | None]:
    """Returns the first and the last sort value of a part, by its filter too."""
    after, before = (getattr(part.where, name) for name in BOUNDS[order.sorted_by])
    first = part.first if after is None else max(part.first or 0, to_microseconds(after))
    own_last = None if before is None else to_microseconds(before) - 1
    last = own_last if part.last is None else part.last if own_last is None else min(part.last, own_last)
    return first, last


def walked(where: RunFilter, order: Order) -> RunFilter:
    """Returns the part of a filter that an index with the order serves."""
    names: Sequence[str] = BOUNDS.get(order.sorted_by, ())
    if order.sorted_by is None:
        one = (name for name in _ONE_INDEX if (values := getattr(where, name)) is not None and _is_one(values))
        names = (*names, *list(one)[:1])
    return RunFilter(
        project_ids=where.project_ids, archived=Archived.INCLUDE, **{name: getattr(where, name) for name in names}
    )


_ONE_INDEX = ("error_fingerprint", "failed_step_name", "flow_ids", "statuses", "trigger_methods")
"""Fields of which an index has the runs with one value in the order of creation, those with the rarer values first."""


def _is_one(values: str | Sequence[object]) -> bool:
    return isinstance(values, str) or len(values) == 1


def _without_time(part: Part, where: RunFilter, order: Order) -> Sequence[Part]:
    """Returns the runs of a part without a time in the order, if there may be any."""
    column = order.sorted_by
    is_bounded = _extent(part, order) != (None, None)
    return [] if column is None or is_bounded or not _run[column].nullable else [Part(where, _NO_TIME, _NO_TIME)]


def _key(column: str) -> ColumnElement[Any]:
    return sort_key(_run[column]) if _run[column].nullable else _run[column]
