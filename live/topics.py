"""Topics: the part of the event log that a subscriber follows, and the decision which of its events match.

A topic has a scope, by which the log is read and events are routed, and a matcher, which decides for each event.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from db.bulk import reads as bulk_reads
from db.core.database import Database
from db.events import log as event_log
from db.events.log import (
    BULK_PROGRESS,
    INPUT_REQUEST,
    RUN_CHANGED,
    RUN_DELETED,
    RUN_ERASED,
    RUN_KINDS,
    RUN_STATUS,
    LogPosition,
    NeededOfRuns,
    Scope,
)
from db.row_types import EventRow, RunRow
from db.runs.waits import input_requests
from domain import json_codec
from domain.bulk import ENDED
from domain.runs.input_request_filter import InputRequestFilter
from domain.runs.run_filter import RunFilter
from domain.runs.state_machine import FINAL
from live import matching
from live.events import LogEvent, MatchedEvent
from live.predicates import CompiledFilter


@dataclass(frozen=True, slots=True)
class TopicState:
    """The state of a topic at a position of the log."""

    has_ended: bool = False
    """True if no event can follow: subscriptions complete."""
    latest: EventRow | None = None
    """The event that describes the state; None for topics whose subscribers start with the next event."""


NEVER_ENDS = TopicState()


class Topic(Protocol):
    """The interest of a subscriber. Subscribers of equal topics share all work."""

    @property
    def scope(self) -> Scope:
        """The part of the log that is read during replay, and by which live events are routed."""
        ...

    @property
    def marks_caught_up(self) -> bool:
        """True if subscribers get `CaughtUp` between replayed and live events."""
        ...

    def __hash__(self) -> int: ...

    def matcher(self) -> "Matcher":
        """Returns a matcher, which all subscribers of equal topics share."""
        ...

    def is_end(self, event: EventRow) -> bool:
        """True if `event` is the last one of the topic."""
        ...

    async def state_at(self, database: Database, position: LogPosition) -> TopicState:
        """Returns the state of the topic at `position`."""
        ...


class Matcher(Protocol):
    """Decides which events of a topic's scope match."""

    @property
    def needed(self) -> NeededOfRuns:
        """What `match` reads of runs, besides `id` and `project_id`."""
        ...

    def match(self, event: EventRow, run: RunRow | None) -> bool | None:
        """Returns True if the changed object matches after the change; None if the event does not match the topic.

        `run` has at least what is `needed`. It is None for events that change no run, and if the row was deleted.
        """
        ...


def match_all(
    topic: Topic, matcher: Matcher, events: Sequence[LogEvent], runs: Mapping[UUID, RunRow]
) -> list[MatchedEvent]:
    """Returns the matching events among `events`, which are in the topic's scope except that their kinds may differ."""
    kinds, match = topic.scope.kinds, matcher.match
    return [
        MatchedEvent(event, matches)
        for event in events
        if (kinds is None or event.row.kind in kinds)
        and (matches := match(event.row, runs.get(event.row.run_id) if event.row.run_id else None)) is not None
    ]


@dataclass(frozen=True)
class RunsTopic:
    """Changes of the runs that match a scoped filter after the change, or may have matched it before. Never ends."""

    filter: RunFilter
    is_confined: bool = False
    """True for an access token: it gets no event of a run that leaves the filter because its tags or metadata change,
    because the run may have left the token's scope; nor of the erasure or deletion of a run, whose row no longer tells
    whether the run was in its scope."""
    marks_caught_up = True

    @property
    def scope(self) -> Scope:
        project_ids = self.filter.project_ids
        return Scope(project_ids=None if project_ids is None else tuple(project_ids), kinds=RUN_KINDS)

    def matcher(self) -> Matcher:
        return _RunsMatcher(CompiledFilter(self.filter), is_confined=self.is_confined)

    def is_end(self, event: EventRow) -> bool:
        return False

    async def state_at(self, database: Database, position: LogPosition) -> TopicState:
        return NEVER_ENDS


class _RunsMatcher:
    def __init__(self, compiled: CompiledFilter, *, is_confined: bool) -> None:
        self._matches = compiled.matches
        self._is_matched_by = compiled.is_matched_by
        self._is_confined = is_confined
        # `status` is part of every snapshot, so a row is read even for a filter that reads no column.
        self.needed = NeededOfRuns(compiled.columns | {"status"}, compiled.texts)

    def match(self, event: EventRow, run: RunRow | None) -> bool | None:
        if run is None:
            return False if event.kind == RUN_DELETED and not self._is_confined else None
        if event.kind == RUN_STATUS and self._is_matched_by(run):
            return True
        after = matching.snapshot_after(event, run)
        hides = self._is_confined and event.kind == RUN_CHANGED
        if self._matches(after):
            if not hides:
                return True
            # The event shows the run as it is now, and the run may have left the scope since.
            after.set_present_values()
            return True if self._matches(after) else None
        if hides:
            return None
        if event.kind == RUN_ERASED:
            return None if self._is_confined else False
        before = matching.snapshot_before(event, run)
        return False if before is not None and self._matches(before) else None


@dataclass(frozen=True)
class InputRequestsTopic:
    """Changes of the input requests that match a scoped filter after the change, or matched before it. Never ends."""

    filter: InputRequestFilter
    marks_caught_up = True

    @property
    def scope(self) -> Scope:
        project_ids = self.filter.project_ids
        kinds = frozenset({INPUT_REQUEST})
        return Scope(project_ids=None if project_ids is None else tuple(project_ids), kinds=kinds)

    def matcher(self) -> Matcher:
        return _InputRequestsMatcher(self.filter)

    def is_end(self, event: EventRow) -> bool:
        return False

    async def state_at(self, database: Database, position: LogPosition) -> TopicState:
        return NEVER_ENDS


class _InputRequestsMatcher:
    needed = event_log.NOTHING

    def __init__(self, where: InputRequestFilter) -> None:
        self._where = where

    def match(self, event: EventRow, run: RunRow | None) -> bool | None:
        request = input_requests.asked(event)
        assert event.to_status is not None  # Every change of a request has a status.
        if self._where.matches(request, event.to_status, event.at):
            return True
        matched = event.from_status is not None and self._where.matches(request, event.from_status, event.at)
        return False if matched else None


@dataclass(frozen=True)
class RunTopic:
    """Events of one run, of its steps and of its log. Ends with the run.

    Subscribers must have been authorised to see the run.
    """

    run_id: UUID
    kinds: frozenset[str] | None = None
    """Kinds of events; None: all. Without RUN_STATUS, the topic does not end while a subscriber follows it."""
    marks_caught_up = True

    @property
    def scope(self) -> Scope:
        return Scope(run_id=self.run_id, kinds=self.kinds)

    def matcher(self) -> Matcher:
        return _MATCH_ALL

    def is_end(self, event: EventRow) -> bool:
        # Events of steps and lines that belong to the end of a run precede it in the log, and none follows it.
        return event.kind == RUN_STATUS and event.to_status in FINAL

    async def state_at(self, database: Database, position: LogPosition) -> TopicState:
        # The log is read instead of the run: the run's end may be committed while its event still follows `position`.
        return TopicState(await database.read(event_log.ended_before, self.run_id, position))


@dataclass(frozen=True)
class OperationTopic:
    """Progress of one bulk operation. Begins with its present state, and ends with the operation.

    Subscribers must have been authorised to see the operation.
    """

    operation_id: UUID
    marks_caught_up = False

    @property
    def scope(self) -> Scope:
        return Scope(operation_id=self.operation_id, kinds=frozenset({BULK_PROGRESS}))

    def matcher(self) -> Matcher:
        return _MATCH_ALL

    def is_end(self, event: EventRow) -> bool:
        return json_codec.decode(event.data)["status"] in ENDED

    async def state_at(self, database: Database, position: LogPosition) -> TopicState:
        # The operation is read before its log: if it has ended, so has its log, or the log was pruned.
        operations = await database.read(bulk_reads.by_ids, [self.operation_id], {"status"})
        latest = await database.read(event_log.last_progress, self.operation_id)
        if latest is None:
            operation = operations.get(self.operation_id)
            return TopicState(has_ended=operation is None or operation.status in ENDED)
        if latest.seq > position:
            return NEVER_ENDS  # The tailer delivers the end of the operation.
        return TopicState(self.is_end(latest), latest)


class _MatchAll:
    needed = event_log.NOTHING

    def match(self, event: EventRow, run: RunRow | None) -> bool | None:
        return True


_MATCH_ALL = _MatchAll()


def routing_keys(scope: Scope) -> list[Hashable]:
    """Returns the keys under which subscribers of a scope are registered. Each event in the scope has one of them."""
    if scope.run_id is not None:
        return [("run", scope.run_id)]
    if scope.operation_id is not None:
        return [("operation", scope.operation_id)]
    if scope.project_ids is not None:
        return [("project", project_id) for project_id in dict.fromkeys(scope.project_ids)]
    return [None]


def routing_keys_of_event(event: EventRow) -> tuple[Hashable, ...]:
    """Returns the keys of the subscribers whom an event may concern."""
    return (("run", event.run_id), ("operation", event.operation_id), ("project", event.project_id), None)
