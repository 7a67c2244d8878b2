"""What a filter means before and after a change. That it means the same runs as SQL is tested in tests/db."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from db.events import log as event_log
from db.models import FlowRun, RunEvent
from db.models.types import table
from db.runs import reads as run_reads
from db.search import switch
from db.sql.rows import AnyRow
from domain.enums import RunStatus
from domain.runs.filter_field import Archived
from domain.runs.metadata_condition import MetadataCondition
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL, TRANSITIONS
from live import matching
from live.predicates import CompiledFilter
from live.topics import RunsTopic
from tests.support import factory
from tests.support.clock import START, FakeClock
from tests.support.factory import PublishedFlow

SECOND = timedelta(seconds=1)
ENDED = {
    "status": "FAILED",
    "started_at": START + SECOND,
    "finished_at": START + 6 * SECOND,
    "duration_ms": 5_000,
    "error_message": "It answered 503",
    "error_fingerprint": "00ff",
    "failed_step_name": "fetch",
}
"""A run that was created, began a second later, and failed after five."""
LIFE: list[tuple[str | None, str | None, str, int]] = [
    (None, "QUEUED", event_log.RUN_STATUS, 0),
    ("QUEUED", "RUNNING", event_log.RUN_STATUS, 1),
    ("RUNNING", "PAUSED", event_log.RUN_STATUS, 2),
    ("PAUSED", "RUNNING", event_log.RUN_STATUS, 3),
    ("RUNNING", "FAILED", event_log.RUN_STATUS, 6),
    (None, None, event_log.RUN_ARCHIVED, 7),
    (None, None, event_log.RUN_UNARCHIVED, 8),
    (None, None, event_log.RUN_RECOVERED, 9),
    (None, None, event_log.RUN_ARCHIVED, 10),
]


@pytest.fixture
async def published(fake_clock: FakeClock, database: Database) -> PublishedFlow:
    return await database.write(factory.make_project_with_flow)


def live(uow: UnitOfWork, published: PublishedFlow, **values: Any) -> tuple[AnyRow, Sequence[AnyRow]]:
    """The row of a run in the end, and the events of its life."""
    key = factory.make_run(uow, published, **{**ENDED, **values})
    events = [
        {
            "run_id": key,
            "project_id": published.project_id,
            "flow_id": published.flow_id,
            "kind": kind,
            "from_status": source,
            "to_status": target,
            "message": "",
            "at": START + second * SECOND,
        }
        for source, target, kind, second in LIFE
    ]
    uow.conn.execute(insert(table(RunEvent)), events)
    run, log = table(FlowRun), table(RunEvent)
    row = uow.conn.execute(select(run).where(run.c.id == key)).one()
    return row, uow.conn.execute(select(log).where(log.c.run_id == key).order_by(log.c.seq)).all()


CASES: dict[str, tuple[dict[str, Any], str]] = {
    # + the run matches after the event, - it may have matched before and does not match after, . no event is delivered
    "all": ({"archived": Archived.INCLUDE}, "+++++++++"),
    "those that are not archived": ({}, "+++++-++-"),
    "archived ones": ({"archived": Archived.ONLY}, ".....+-.+"),
    "queued ones": ({"statuses": [RunStatus.QUEUED]}, "+-......."),
    "running ones": ({"statuses": [RunStatus.RUNNING]}, ".+-+-...."),
    "failed ones": ({"statuses": [RunStatus.FAILED]}, "....+-++-"),
    "live ones": ({"statuses": [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED]}, "++++-...."),
    # The time of the recovery is unknown: an event that is read late is delivered as if the run was recovered by then,
    # and was not before.
    "unrecovered ones": ({"unrecovered": True, "archived": Archived.INCLUDE}, "....+----"),
    "with an error": ({"error_contains": "ANSWERED"}, "....+-++-"),
    "with another error": ({"error_contains": "timed out"}, "........."),
    "with a fingerprint": ({"error_fingerprint": "00ff"}, "....+-++-"),
    "that failed at a step": ({"failed_step_name": "fetch"}, "....+-++-"),
    "started": ({"started_after": START}, ".+++" + "+-++-"),
    "started later": ({"started_after": START + 2 * SECOND}, "........."),
    "finished": ({"finished_after": START}, "....+-++-"),
    "that took 2 s": ({"min_duration_ms": 2_000}, "...++-++-"),
    "that took a second at most": ({"max_duration_ms": 1_000}, ".++--" + "...."),
    "that took no more than 5 s": ({"max_duration_ms": 5_000}, ".+++" + "+-++-"),
    "that took 6 s": ({"min_duration_ms": 6_000}, "........."),
    "with a tag": ({"tags": ["red"]}, "+++++-++-"),
    "with another tag": ({"tags": ["blue"]}, "........."),
    "by its metadata": ({"metadata": '{"order":{"id":7}}'}, "+++++-++-"),
    "changed after it ended": ({"updated_after": START + 7 * SECOND}, ".....-++-"),
    # Archiving is not a change. When the run changed before it, a row that was recovered since does not show.
    "not changed after 3 s": ({"updated_before": START + 3 * SECOND + SECOND / 2}, "++++--+-."),
    "created a second ago": ({"created_within": "PT1S"}, "++----" + ".--"),
    "finished two seconds ago": ({"finished_within": "PT2S"}, "....+-+--"),
    "not failed": ({"not_": RunFilter.part(statuses=[RunStatus.FAILED])}, "++++-...."),
    "not with an error": ({"not_": RunFilter.part(error_contains="answered")}, "++++-...."),
    "neither queued nor archived": (
        {"not_": RunFilter.part(statuses=["QUEUED"]), "archived": Archived.EXCLUDE},
        ".++++-++-",
    ),
    "not that took 2 s": ({"not_": RunFilter.part(min_duration_ms=2_000)}, "+++-" + "-...."),
    "not that took 1 s at most": ({"not_": RunFilter.part(max_duration_ms=1_000)}, "+-.++-++-"),
    "not changed since": ({"not_": RunFilter.part(updated_after=START + 3 * SECOND)}, "+++---+-."),
    "not recovered": (
        {"not_": RunFilter.part(not_=RunFilter.part(unrecovered=True)), "archived": Archived.INCLUDE},
        "....+----",
    ),
    "recovered": (
        {"not_": RunFilter.part(unrecovered=True), "statuses": ["FAILED"], "archived": Archived.INCLUDE},
        ".....++++",
    ),
    "failed or queued": (
        {"or_": [RunFilter.part(statuses=["FAILED"]), RunFilter.part(statuses=["QUEUED"])]},
        "+-..+-++-",
    ),
    "above 6 in its metadata": (
        {"metadata_conditions": [MetadataCondition(path=("order", "id"), greater_than=6)]},
        "+++++-++-",
    ),
    "by other metadata": ({"metadata": '{"order":{"id":8}}'}, "........."),
}


@pytest.mark.parametrize("name", CASES)
async def test_events_match_while_the_run_matches_and_when_it_stops_matching(
    name: str, published: PublishedFlow, database: Database
) -> None:
    fields, expected = CASES[name]
    values = {
        "tags": ["red"],
        "metadata": '{"order": {"id": 7, "of": "Ada"}}',
        "archived_at": START + 10 * SECOND,
        "recovered_by_id": factory.uuid_at(START, 9),
        "updated_at": START + 9 * SECOND,
    }
    row, log = await database.write(lambda uow: live(uow, published, **values))
    match = RunsTopic(RunFilter(**fields)).matcher().match
    signs = {True: "+", False: "-", None: "."}
    assert "".join(signs[match(event, row)] for event in log) == expected


async def test_replay_matches_the_same_events_as_live(published: PublishedFlow, database: Database) -> None:
    """The row of a run that has changed since matches each event as the row right after the event did."""
    row, log = await database.write(lambda uow: live(uow, published))
    for name, (fields, _) in CASES.items():
        match = RunsTopic(RunFilter(**fields)).matcher().match
        for number, event in enumerate(log[:5]):
            at_that_time: Any = Seen(row._mapping, as_it_was(number))
            assert match(event, at_that_time) == match(event, row), (name, number)


def as_it_was(number: int) -> dict[str, Any]:
    """The columns of the run right after the event, as the engine writes them."""
    status = LIFE[number][1]
    assert status is not None
    values = {**dict.fromkeys(ENDED), "status": status}
    return values | ({} if status == "QUEUED" else {"started_at": ENDED["started_at"]}) if status != "FAILED" else ENDED


class Seen:
    """A row with other values in some columns."""

    def __init__(self, row: Mapping[Any, Any], values: Mapping[str, Any]) -> None:
        self._mapping = {**row, **values}

    def _asdict(self) -> dict[str, Any]:
        return self._mapping

    def __getattr__(self, name: str) -> Any:
        return self._mapping[name]


def test_before_a_change_of_status_a_run_is_live() -> None:
    """What filters take for granted of the moment before."""
    assert all(not TRANSITIONS[status] for status in FINAL)


async def test_only_the_columns_asked_for_are_needed(published: PublishedFlow, database: Database) -> None:
    run, log = await database.write(lambda uow: live(uow, published))
    for name, (fields, expected) in CASES.items():
        matcher = RunsTopic(RunFilter(**fields)).matcher()
        row: Any = (await database.read(run_reads.by_ids, [run.id], matcher.needed.columns))[run.id]
        matches = [matcher.match(event, row) for event in log[:5]]
        if "tag" not in name and "metadata" not in name:
            assert "".join({True: "+", False: "-", None: "."}[value] for value in matches) == expected[:5], name


async def test_filter_over_fixed_columns_is_matched_by_the_row(published: PublishedFlow, database: Database) -> None:
    row, events = await database.write(lambda uow: live(uow, published))
    archived, _ = await database.write(lambda uow: live(uow, published, archived_at=START + 10 * SECOND))
    own: dict[str, Any] = {"project_ids": [published.project_id], "flow_ids": [published.flow_id]}
    for filtered, matches in (
        ({}, True),
        (own, True),
        ({**own, "environments": [row.environment], "trigger_methods": [row.trigger_method]}, True),
        ({**own, "flow_ids": [UUID(int=1)]}, False),
        ({"statuses": list(RunStatus)}, False),
        ({"archived": Archived.ONLY}, False),
    ):
        compiled = CompiledFilter(RunFilter(**filtered))
        assert compiled.is_matched_by(row) is matches, filtered
        assert not compiled.is_matched_by(archived), filtered
        for event in events[:5]:
            assert compiled.matches(matching.snapshot_after(event, row)) or not matches, filtered
    assert CompiledFilter(RunFilter(archived=Archived.INCLUDE)).is_matched_by(archived)


def test_filter_requests_only_the_columns_that_it_reads() -> None:
    assert CompiledFilter(RunFilter(archived=Archived.INCLUDE)).columns == frozenset()
    assert CompiledFilter(RunFilter()).columns == {"archived_at"}
    assert CompiledFilter(RunFilter(project_ids=[UUID(int=1)], tags=["a"])).columns >= {"tags", "archived_at"}


async def test_searched_texts_are_those_that_the_run_has_when_it_is_read(
    published: PublishedFlow, database: Database
) -> None:
    await database.write(switch.switch_on)
    texts = {"input": '{"of": "The INPUT"}', "output": '{"of": "the output"}'}
    run, log = await database.write(lambda uow: live(uow, published, **texts))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"search": "the Input"}, "+++++-++-"),
        ({"search": "nothing of it"}, "........."),
        # It may have had them before each event, and may have had none of them.
        ({"not_": RunFilter.part(search="THE output")}, ".-----.--"),
        ({"not_": RunFilter.part(search="nothing of it"), "archived": Archived.INCLUDE}, "+" * 9),
        (
            {"or_": (RunFilter.part(search="nothing of it"), RunFilter.part(search="output")), "statuses": ["QUEUED"]},
            "+-.......",
        ),
    ]
    for fields, expected in cases:
        matcher = RunsTopic(RunFilter(**fields)).matcher()
        needed = matcher.needed
        row: Any = (await database.read(run_reads.by_ids, [run.id], needed.columns, needed.texts))[run.id]
        assert "".join({True: "+", False: "-", None: "."}[matcher.match(event, row)] for event in log) == expected
    await database.write(switch.switch_off)
    row = (await database.read(run_reads.by_ids, [run.id], {"status"}, {"the input"}))[run.id]
    assert RunsTopic(RunFilter(search="the Input")).matcher().match(log[0], row) is None
