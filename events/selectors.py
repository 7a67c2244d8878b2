"""What a subscriber is told of: a part of the event log, and the events in it that are meant."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from db.events import RUN_KINDS, Scope
from db.rows import AnyRow
from domain.run_filter import RunFilter
from events import filters
from events.filters import CompiledFilter


class Selector(Protocol):
    """Says which events are told. Subscribers whose selectors are equal share all the work."""

    @property
    def scope(self) -> Scope:
        """The part of the log: what is read of it when a subscriber catches up."""
        ...

    def __hash__(self) -> int: ...

    def compiled(self) -> "Compiled":
        """Ready to be asked; made once for all subscribers whose selectors are equal."""
        ...


class Compiled(Protocol):
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
class OfRuns:
    """Changes of the runs that a scoped filter means after the change, or may have meant before."""

    wanted: RunFilter

    def __post_init__(self) -> None:
        object.__setattr__(self, "wanted", filters.hashable(self.wanted))

    @property
    def scope(self) -> Scope:
        project_ids = self.wanted.project_ids
        return Scope(project_ids=None if project_ids is None else tuple(project_ids), kinds=RUN_KINDS)

    def compiled(self) -> Compiled:
        return _CompiledRuns(CompiledFilter(self.wanted))


class _CompiledRuns:
    def __init__(self, wanted: CompiledFilter) -> None:
        self._means = wanted.means
        # What every moment is made of, so that a row is read even for a filter that asks for nothing else.
        self.columns = wanted.columns | {"status"}

    def told(self, event: AnyRow, run: AnyRow | None) -> bool | None:
        if run is None:
            return None  # its row is gone
        if self._means(filters.after(event, run)):
            return True
        moment = filters.before(event, run)
        return False if moment is not None and self._means(moment) else None


@dataclass(frozen=True)
class OfRun:
    """Events of one run and its steps; all `kinds`, or these. Whether the subscriber may see it is asked before."""

    run_id: UUID
    kinds: frozenset[str] | None = None

    @property
    def scope(self) -> Scope:
        return Scope(run_id=self.run_id, kinds=self.kinds)

    def compiled(self) -> Compiled:
        return _ALL


@dataclass(frozen=True)
class OfOperation:
    """Events of one bulk operation. Whether the subscriber may see it is asked before."""

    operation_id: UUID
    kinds: frozenset[str] | None = None

    @property
    def scope(self) -> Scope:
        return Scope(operation_id=self.operation_id, kinds=self.kinds)

    def compiled(self) -> Compiled:
        return _ALL


class _All:
    columns: frozenset[str] = frozenset()

    def told(self, event: AnyRow, run: AnyRow | None) -> bool | None:
        return True


_ALL = _All()


def shelves(scope: Scope) -> list[Hashable]:
    """Where the subscribers of a scope are found, by the events that `shelves_of` finds there."""
    if scope.run_id is not None:
        return [("run", scope.run_id)]
    if scope.operation_id is not None:
        return [("operation", scope.operation_id)]
    if scope.project_ids is not None:
        return [("project", key) for key in dict.fromkeys(scope.project_ids)]
    return [None]


def shelves_of(event: AnyRow) -> tuple[Hashable, ...]:
    """Where the subscribers are found whom an event may concern."""
    return (("run", event.run_id), ("operation", event.operation_id), ("project", event.project_id), None)
