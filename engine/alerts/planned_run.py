"""The run that a schedule would have started, in the form in which filters of alerts are matched against runs."""

from collections.abc import Collection
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

from db.row_types import RunRow
from db.schedules import DueSchedule
from domain import ids
from domain.enums import RunStatus, TriggerMethod
from domain.ids import IdKind


class _PlannedRun(SimpleNamespace):
    """Has the attributes of a row of `flow_run`."""

    def _asdict(self) -> dict[str, Any]:
        return self.__dict__


def planned_run(schedule: DueSchedule, columns: Collection[str], now: datetime) -> RunRow:
    """Returns the QUEUED run that a worker would start for a schedule that is due. It exists nowhere.

    Args:
        schedule: The schedule.
        columns: The columns that are read of the run. Those that it would not have yet are None.
        now: The instant at which it would be created.
    """
    run_id = ids.first_uuid_at(now)
    values = {
        "id": run_id,
        "root_run_id": run_id,
        "project_id": schedule.project_id,
        "flow_id": schedule.flow_id,
        "flow_version_id": schedule.published_version_id,
        "status": RunStatus.QUEUED,
        "trigger_method": TriggerMethod.SCHEDULE,
        "source": ids.encode(IdKind.SCHEDULE, schedule.id),
        "environment": schedule.environment,
        "tags": schedule.tags,
        "metadata": schedule.metadata,
        "scheduled_for": schedule.next_fire_at,
        "due_at": schedule.next_fire_at,
        "created_at": now,
        "updated_at": now,
        "attempt": 1,
    }
    return cast("RunRow", _PlannedRun(**(dict.fromkeys(columns) | values)))
