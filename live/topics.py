"""What a subscriber is told of: a part of the event log, and the events in it that are meant."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from db.events.log import RUN_KINDS, Scope
from db.sql.rows import AnyRow
from domain.run_filter import RunFilter
from live import matching
from live.predicates import CompiledFilter


class Topic(Protocol):
    """Says which events are told. Subscribers whose selectors are equal share all the work."""

    @property
    def scope(self) -> Scope:
        """The part of the log: what is read of it when a subscriber catches up."""
        ...

    def __hash__(self) -> int: ...

    def compiled(self) -> "Matcher":
        """Ready to be asked; made once for all subscribers whose selectors are equal."""
        ...


class Matcher(Protocol):
    """A selector, ready to be asked."""

    @property
    def columns(self) -> frozenset[str]:
        """Of the rows of `flow_run` that it looks at, beside `id` and `project_id`."""
        ...

    def told(self, event: AnyRow, run: AnyRow | None) -> bool | None:
        """None: an event of the scope is not told. Else whether what it changed is meant after it.

        `run` has the columns; it is None for events that change no run, and when no selector asks for columns.
        """
        ...


@dataclass(frozen=True)
class RunsTopic:
    """Changes of the runs that a scoped filter means after the change, or may have meant before."""

    wanted: RunFilter

    @property
    def scope(self) -> Scope:
        project_ids = self.wanted.project_ids
        return Scope(project_ids=None if project_ids is None else tuple(project_ids), kinds=RUN_KINDS)

    def compiled(self) -> Matcher:
        return _RunsMatcher(CompiledFilter(self.wanted))


class _RunsMatcher:
    def __init__(self, wanted: CompiledFilter) -> None:
        self._means = wanted.matches
        # What every moment is made of, so that a row is read even for a filter that asks for nothing else.
        self.columns = wanted.columns | {"status"}

    def told(self, event: AnyRow, run: AnyRow | None) -> bool | None:
        if run is None:
            return None  # its row is gone
        if self._means(matching.after(event, run)):
            return True
        moment = matching.before(event, run)
        return False if moment is not None and self._means(moment) else None


@dataclass(frozen=True)
class RunTopic:
    """Events of one run and its steps; all `kinds`, or these. Whether the subscriber may see it is asked before."""

    run_id: UUID
    kinds: frozenset[str] | None = None

    @property
    def scope(self) -> Scope:
        return Scope(run_id=self.run_id, kinds=self.kinds)

    def compiled(self) -> Matcher:
        return _MATCH_ALL


@dataclass(frozen=True)
class OperationTopic:
    """Events of one bulk operation. Whether the subscriber may see it is asked before."""

    operation_id: UUID
    kinds: frozenset[str] | None = None

    @property
    def scope(self) -> Scope:
        return Scope(operation_id=self.operation_id, kinds=self.kinds)

    def compiled(self) -> Matcher:
        return _MATCH_ALL


class _MatchAll:
    columns: frozenset[str] = frozenset()

    def told(self, event: AnyRow, run: AnyRow | None) -> bool | None:
        return True


_MATCH_ALL = _MatchAll()


def routing_keys(scope: Scope) -> list[Hashable]:
    """Where the subscribers of a scope are found, by the events that `shelves_of` finds there."""
    if scope.run_id is not None:
        return [("run", scope.run_id)]
    if scope.operation_id is not None:
        return [("operation", scope.operation_id)]
    if scope.project_ids is not None:
        return [("project", key) for key in dict.fromkeys(scope.project_ids)]
    return [None]


def routing_keys_of(event: AnyRow) -> tuple[Hashable, ...]:
    """Where the subscribers are found whom an event may concern."""
    return (("run", event.run_id), ("operation", event.operation_id), ("project", event.project_id), None)
