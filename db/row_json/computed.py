"""Fields of rows that are computed: the SQL that gives what their resolvers give."""

from db.row_json.dialects import Dialect
from db.row_json.sources import Computed, Form


def _duration(dialect: Dialect, row: str) -> str:
    elapsed = dialect.elapsed(f"{row}.started_at", dialect.now())
    return f"coalesce({row}.duration_ms, CASE WHEN {row}.started_at IS NOT NULL THEN {elapsed} END)"


def _lasted(dialect: Dialect, row: str) -> str:
    return dialect.elapsed(f"{row}.started_at", f"coalesce({row}.finished_at, {dialect.now()})")


def _step_data(_: Dialect, row: str) -> str:
    purged, started = f"{row}.steps_purged_at IS NOT NULL", f"{row}.started_at IS NULL"
    return f"CASE WHEN {purged} THEN 'PURGED' WHEN {started} THEN 'NOT_STARTED' ELSE 'AVAILABLE' END"


DURATION = Computed(Form.NUMBER, _duration)
"""Milliseconds from the start of a run or a step to its end, or until now; null before the start."""
LASTED = Computed(Form.NUMBER, _lasted)
"""Milliseconds from the start of an attempt to its end, or until now."""
STEP_DATA = Computed(Form.WORD, _step_data)
"""Whether the inputs and outputs of a run's steps can be read."""
