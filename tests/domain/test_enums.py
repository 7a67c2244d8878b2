import pytest

from domain.enums import FINAL, LIVE, TRANSITIONS, UNSUCCESSFUL, Role, RunStatus, sources_of


def test_every_status_stands_in_the_table_once() -> None:
    assert list(TRANSITIONS) == list(RunStatus)


def test_a_status_is_live_or_final() -> None:
    assert {"QUEUED", "RUNNING", "PAUSED"} == LIVE
    assert {"SUCCEEDED", "FAILED", "TIMEOUT", "QUOTA_EXCEEDED", "INTERNAL_ERROR", "STOPPED"} == FINAL
    assert FINAL - {RunStatus.SUCCEEDED} == UNSUCCESSFUL


@pytest.mark.parametrize("status", sorted(FINAL))
def test_nothing_follows_a_final_status(status: RunStatus) -> None:
    assert not TRANSITIONS[status]


@pytest.mark.parametrize("status", sorted(LIVE))
def test_a_live_status_can_end_and_never_follows_itself(status: RunStatus) -> None:
    assert TRANSITIONS[status] & FINAL
    assert status not in TRANSITIONS[status]


def reachable(start: RunStatus) -> set[RunStatus]:
    found, ahead = {start}, {start}
    while ahead := {after for status in ahead for after in TRANSITIONS[status]} - found:
        found |= ahead
    return found


def test_every_status_can_be_reached_from_the_first() -> None:
    assert reachable(RunStatus.QUEUED) == set(RunStatus)


@pytest.mark.parametrize("target", RunStatus)
def test_sources_are_the_table_read_backward(target: RunStatus) -> None:
    assert sources_of(target) == {source for source in RunStatus if target in TRANSITIONS[source]}


def test_a_success_comes_of_running_alone() -> None:
    assert sources_of(RunStatus.SUCCEEDED) == {RunStatus.RUNNING}
    assert sources_of(RunStatus.QUEUED) == set()


@pytest.mark.parametrize(
    ("role", "included"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.OPERATOR, {Role.VIEWER, Role.OPERATOR}),
        (Role.ADMIN, {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
    ],
)
def test_a_role_may_do_what_those_below_it_may(role: Role, included: set[Role]) -> None:
    assert {other for other in Role if role.includes(other)} == included
