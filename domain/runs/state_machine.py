"""The state machine of flow runs, as data: the transitions that are allowed. docs/architecture.md draws the same
table."""

from domain.enums import RunStatus, StepStatus

_S = RunStatus

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.STOPPED, _S.QUOTA_EXCEEDED, _S.INTERNAL_ERROR}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.TIMEOUT, _S.INTERNAL_ERROR, _S.STOPPED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.FAILED, _S.TIMEOUT, _S.INTERNAL_ERROR, _S.STOPPED}),
    **{final: frozenset() for final in list(_S)[3:]},
}
"""The statuses that may follow each status. No status follows a final one."""

LIVE: frozenset[RunStatus] = frozenset(status for status, next_statuses in TRANSITIONS.items() if next_statuses)
"""Statuses of a run that has not ended."""
FINAL: frozenset[RunStatus] = frozenset(RunStatus) - LIVE
"""Statuses of a run that has ended. They never change."""
STOPS: frozenset[RunStatus] = FINAL | {_S.PAUSED}
"""Statuses in which no worker executes the run: it has ended, or waits for a time, an answer or its children."""
UNSUCCESSFUL: frozenset[RunStatus] = FINAL - {_S.SUCCEEDED}
"""Final statuses other than SUCCEEDED: the runs that may be retried."""

UNFINISHED = frozenset({StepStatus.PENDING, StepStatus.RUNNING, StepStatus.PAUSED})
"""Statuses of a step that has not ended."""
FINISHED = frozenset({StepStatus.SUCCEEDED, StepStatus.SKIPPED, StepStatus.FAILED})
"""Statuses of a step that its run does not execute again. FAILED is one of them: a definition may let a run continue
after a failed step."""
KEPT = FINISHED - {StepStatus.FAILED}
"""Statuses of a step whose result a retry from the failed step keeps."""


def sources_of(target: RunStatus) -> frozenset[RunStatus]:
    """Returns the statuses from which a run may move to `target`."""
    return frozenset(status for status, next_statuses in TRANSITIONS.items() if target in next_statuses)
