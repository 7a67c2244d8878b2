"""Fields of rows that are computed: SQL that returns the same values as their resolvers."""

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


def _wait_kind(dialect: Dialect, row: str) -> str:
    return (
        f"CASE WHEN {row}.blocked_by IN ({row}.flow_id, {row}.project_id) THEN 'SLOT'"
        f" WHEN {row}.blocked_by IS NOT NULL THEN 'RELEASE' WHEN {row}.due_at <= {dialect.now()} THEN 'WORKER'"
        f" WHEN {row}.status = 'PAUSED' THEN coalesce({row}.waits_for, 'TIME') WHEN {row}.status = 'QUEUED' THEN 'TIME'"
        f" WHEN {row}.status = 'RUNNING' AND {row}.lease_token IS NULL THEN 'RETRY' END"
    )


def _wait_until(dialect: Dialect, row: str) -> str:
    return f"CASE WHEN {row}.blocked_by IS NULL AND {row}.due_at > {dialect.now()} THEN {row}.due_at END"


def _queued(dialect: Dialect, row: str) -> str:
    return dialect.elapsed(f"{row}.created_at", f"coalesce({row}.started_at, {row}.finished_at, {dialect.now()})")


def _running(dialect: Dialect, row: str) -> str:
    since = dialect.elapsed(f"{row}.running_since", f"coalesce({row}.finished_at, {dialect.now()})")
    return f"({row}.ran_ms + CASE WHEN {row}.running_since IS NULL THEN 0 ELSE {since} END)"


def _paused(dialect: Dialect, row: str) -> str:
    paused = f"{_lasted(dialect, row)} - {_running(dialect, row)}"
    return f"CASE WHEN {row}.started_at IS NULL OR {paused} < 0 THEN 0 ELSE {paused} END"


DURATION = Computed(Form.NUMBER, _duration)
"""Milliseconds from the start of a run or a step to its end, or until now; null before the start."""
LASTED = Computed(Form.NUMBER, _lasted)
"""Milliseconds from the start of an attempt to its end, or until now."""
STEP_DATA = Computed(Form.WORD, _step_data)
"""Whether the inputs and outputs of a run's steps can be read."""
WAIT_KIND = Computed(Form.WORD, _wait_kind)
"""What a run waits for, as `domain.runs.wait` decides; null if it waits for nothing."""
WAIT_UNTIL = Computed(Form.INSTANT, _wait_until)
"""The instant at which the wait of a run ends at the latest; null if there is none, or a queue decides."""
QUEUED = Computed(Form.NUMBER, _queued)
"""Milliseconds from the creation of a run to its start, or until now."""
RUNNING = Computed(Form.NUMBER, _running)
"""Milliseconds for which a run was RUNNING."""
PAUSED = Computed(Form.NUMBER, _paused)
"""Milliseconds for which a run was PAUSED after its start."""
