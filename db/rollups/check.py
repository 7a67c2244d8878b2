"""Compares kept counts of runs with the runs themselves."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Select, cast, func, literal_column, select, true, union_all

from db.models import RUN_ROLLUP_DELTA, RunRollup, RunRollupState
from db.models.runs.run_rollup import SLOT_SECONDS
from db.models.types import EPOCH, table
from db.rollups.levels import ALL_FLOWS, ALL_TIME, ANY, LEVELS, NO_DURATION, by_level
from db.rollups.upkeep import runs_as_changes
from domain import ids
from domain.ids import IdKind

_rollups = table(RunRollup)
_states = table(RunRollupState)
_KEYS = [column.name for column in _rollups.primary_key]
_SPANS = {level.number: level.span for level in LEVELS}


class NotCountedError(Exception):
    """Old runs are still being counted, so no comparison is possible yet."""


class Difference(NamedTuple):
    """A count that is wrong."""

    level: int
    project_id: UUID
    flow_id: UUID
    slot: int
    environment: str
    trigger_method: str
    status: str
    archived: bool
    failed_step_name: str
    duration_bucket: int
    kept: int
    """The kept number of runs."""
    found: int
    """The counted number of runs."""
    kept_ms: int
    """The kept sum of durations in milliseconds."""
    found_ms: int
    """The computed sum of durations in milliseconds."""

    def __str__(self) -> str:
        counted = f"{self.kept:,} runs are counted, and there are {self.found:,}"
        if self.kept == self.found:
            counted = f"{self.kept_ms:,} ms are counted for {self.kept:,} runs, which took {self.found_ms:,} ms"
        return f"Level {self.level}: {counted}, {', '.join(self._which())}."

    def _which(self) -> Iterator[str]:
        yield f"of project {ids.encode(IdKind.PROJECT, UUID(int=self.project_id.int))}"
        if self.flow_id != ALL_FLOWS:
            yield f"of flow {ids.encode(IdKind.FLOW, UUID(int=self.flow_id.int))}"
        if _SPANS.get(self.level, ALL_TIME) != ALL_TIME:
            yield f"created from {EPOCH + self.slot * timedelta(seconds=SLOT_SECONDS):%Y-%m-%d %H:%M} UTC"
        if self.environment != ANY:
            yield f"in {self.environment}"
        if self.trigger_method != ANY:
            yield f"started by {self.trigger_method}"
        yield f"with status {self.status}"
        yield "archived" if self.archived else "not archived"
        if self.failed_step_name != ANY:
            yield f"failed at step {self.failed_step_name!r}"
        if self.duration_bucket != NO_DURATION:
            yield f"of about {self.duration_bucket:,} ms"


def differences(conn: Connection) -> Sequence[Difference]:
    """Returns the counts that differ from the runs. It reads all runs, in one statement, while others write.

    Raises:
        NotCountedError: old runs are still being counted.
    """
    rows = conn.execute(_DIFFERENCES).all()
    if not rows:
        raise NotCountedError
    return [Difference(*row) for row in rows if row.level is not None]


def _sums(sums: Any, *, are_kept: bool) -> Select[Any]:
    keys = (sums[name] for name in _KEYS)
    none = literal_column("0", BigInteger)
    kept = (sums.runs, none, sums.total_ms, none)
    found = (none, sums.runs, none, sums.total_ms)
    names = ("kept", "found", "kept_ms", "found_ms")
    columns = zip(names, kept if are_kept else found, strict=True)
    return select(*keys, *(column.label(name) for name, column in columns))


def _build() -> Select[Any]:
    parts = union_all(
        _sums(_rollups.c, are_kept=True),
        _sums(by_level(select(RUN_ROLLUP_DELTA).subquery("changes")).subquery("changed").c, are_kept=True),
        _sums(by_level(runs_as_changes().subquery("runs")).subquery("counted").c, are_kept=False),
    ).subquery("parts")
    keys = [parts.c[name] for name in _KEYS]
    names = Difference._fields[len(_KEYS) :]
    sums = [cast(func.sum(parts.c[name]), BigInteger).label(name) for name in names]
    kept, found, kept_ms, found_ms = sums
    wrong = select(*keys, *sums).group_by(*keys).having((kept != found) | (kept_ms != found_ms)).subquery("wrong")
    # As in an answer, there is one row without values if all counts are right, and none while old runs are being
    # counted.
    return select(wrong).select_from(_states.outerjoin(wrong, true())).where(_states.c.filled_until.is_(None))


_DIFFERENCES = _build()
