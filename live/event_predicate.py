"""The filter of an endpoint or an alert, matched against the events of the log."""

from datetime import datetime

from db.events.log import RUN_KINDS, NeededOfRuns
from db.row_types import EventRow, RunRow
from domain.runs.run_filter import RunFilter
from live.matching import RunSnapshot, snapshot_after
from live.predicates import CompiledFilter


class EventPredicate:
    """True for events after which their run matches a filter."""

    def __init__(self, where: RunFilter) -> None:
        self._compiled = CompiledFilter(where)
        self.needed = NeededOfRuns(self._compiled.columns | {"status"}, self._compiled.texts)
        """What `matches` reads of runs."""

    def matches(self, event: EventRow, run: RunRow) -> bool:
        """True if the run matches after the event. An event that changes no run is matched as the run is now."""
        snapshot = snapshot_after(event, run) if event.kind in RUN_KINDS else RunSnapshot(run, event.at)
        return self._compiled.matches(snapshot)

    def matches_run(self, run: RunRow, at: datetime) -> bool:
        """True if a run matches as it is now, the instant `at`."""
        return self._compiled.matches(RunSnapshot(run, at))
