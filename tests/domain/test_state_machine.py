import pytest

from domain.enums import RunStatus
from domain.runs.state_machine import FINAL, LIVE, TRANSITIONS, UNSUCCESSFUL, sources_of


def test_table_has_every_status_once() -> None:
    assert list(TRANSITIONS) == list(RunStatus)


def test_status_is_live_or_final() -> None:
    assert {"QUEUED", "RUNNING", "PAUSED"} == LIVE
    assert {"SUCCEEDED", "FAILED", "TIMEOUT", "QUOTA_EXCEEDED", "INTERNAL_ERROR", "STOPPED"} == FINAL
    assert FINAL - {RunStatus.SUCCEEDED} == UNSUCCESSFUL


@pytest.mark.parametrize("status", sorted(FINAL))
def test_no_status_follows_a_final_one(status: RunStatus) -> None:
    assert not TRANSITIONS[status]


@pytest.mark.parametrize("status", sorted(LIVE))
def test_live_status_can_end_and_never_follows_itself(status: RunStatus) -> None:
    assert TRANSITIONS[status] & FINAL
    assert status not in TRANSITIONS[status]


def reachable_from(start: RunStatus) -> set[RunStatus]:
    reached, frontier = {start}, {start}
    while frontier := {target for status in frontier for target in TRANSITIONS[status]} - reached:
        reached |= frontier
    return reached


def test_every_status_is_reachable_from_queued() -> None:
    assert reachable_from(RunStatus.QUEUED) == set(RunStatus)


@pytest.mark.parametrize("target", RunStatus)
def test_sources_invert_the_table(target: RunStatus) -> None:
    assert sources_of(target) == {source for source in RunStatus if target in TRANSITIONS[source]}


def test_only_a_running_run_can_succeed() -> None:
    assert sources_of(RunStatus.SUCCEEDED) == {RunStatus.RUNNING}
    assert sources_of(RunStatus.QUEUED) == set()
