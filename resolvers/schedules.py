"""Reads and writes of schedules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from db import flows, schedules
from db.core.unit_of_work import UnitOfWork
from db.row_types import ScheduleRow
from domain import clock, ids
from domain.cron import CronSchedule, get_zone
from domain.errors import (
    FlowNotFoundError,
    InvalidArgumentError,
    Problem,
    ScheduleInvalidError,
    ScheduleNotFoundError,
)
from domain.ids import IdKind
from engine.compiled_flow import FlowCache
from resolvers import authorize, start
from resolvers.context import Context

MAX_SCHEDULES = 100
"""Schedules per flow."""
MAX_PREVIEW = 100
"""Fire times in one response."""

_CHECKS: Mapping[str, Any] = {
    "name": lambda name: start.checked_word("name", name),
    "input": start.encode_input,
    "metadata": start.encode_metadata,
    "tags": start.checked_tags,
    "cron": lambda text: " ".join(text.split()),
}
"""Functions that check and normalize a value before it is stored. Other columns need none."""
_TIMING = ("cron", "time_zone", "enabled")
"""Columns that determine the next fire time."""


async def get(context: Context, schedule_id: str, columns: frozenset[str]) -> ScheduleRow | None:
    """Returns the schedule `schedule_id`; None if the viewer sees no such schedule.

    Raises:
        InvalidIdError: `schedule_id` is not the ID of a schedule.
    """
    row = await context.loaders.load(schedules.by_ids, ids.decode(IdKind.SCHEDULE, schedule_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


async def written(context: Context, key: UUID, columns: frozenset[str]) -> ScheduleRow:
    """Returns a schedule after a change. It bypasses the loaders, which may hold the row from before."""
    return (await context.database.read(schedules.by_ids, [key], columns))[key]


def preview(cron: str, time_zone: str, count: int) -> list[datetime]:
    """Returns the next `count` fire times of a schedule as if it were enabled; fewer if it has no more.

    Raises:
        InvalidArgumentError: `count` is out of range.
        ScheduleInvalidError: the time zone no longer exists.
    """
    if not 1 <= count <= MAX_PREVIEW:
        raise InvalidArgumentError(f"`count` must be from 1 to {MAX_PREVIEW}.")
    timetable = _timetable(cron, time_zone)
    fire_times: list[datetime] = []
    at = timetable.after(clock.now())
    while at is not None and len(fire_times) < count:
        fire_times.append(at)
        at = timetable.after(at)
    return fire_times


async def create(context: Context, flow_id: str, given: Mapping[str, Any]) -> UUID:
    """Creates a schedule from the columns `given`, which are all that a client may set; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, ScheduleInvalidError, InputInvalidError,
        InputTooLargeError.
    """
    columns = frozenset({"published_version_id"})
    flow = await context.loaders.load(flows.by_ids, ids.decode(IdKind.FLOW, flow_id), columns)
    if flow is None or not authorize.can_see(context.viewer, flow):
        raise FlowNotFoundError
    values = _checked(given)
    timetable = _timetable(values["cron"], values["time_zone"])
    await _check_input(context.flows, flow.published_version_id, given["input"])

    def work(uow: UnitOfWork) -> UUID:
        if schedules.count(uow.conn, flow.id) >= MAX_SCHEDULES:
            raise InvalidArgumentError(f"A flow has at most {MAX_SCHEDULES} schedules.")
        schedule_id = ids.new_uuid()
        now = ids.created_at(schedule_id)
        owner = {"id": schedule_id, "project_id": flow.project_id, "flow_id": flow.id}
        times = {"created_at": now, "updated_at": now, "next_fire_at": _next(timetable, enabled=values["enabled"])}
        schedules.create(uow, values | owner | times)
        return schedule_id

    return await context.database.write(work)


async def update(context: Context, schedule_id: str, given: Mapping[str, Any]) -> UUID:
    """Sets the columns `given` of a schedule; returns its key. A change of the timing drops missed fires.

    Raises:
        InvalidIdError, InvalidArgumentError, ScheduleNotFoundError, ScheduleInvalidError, InputInvalidError,
        InputTooLargeError.
    """
    seen = await get(context, schedule_id, frozenset({"flow_id"}))
    if seen is None:
        raise ScheduleNotFoundError
    values = _checked(given)
    if "input" in given:
        columns = frozenset({"published_version_id"})
        flow = await context.loaders.load(flows.by_ids, seen.flow_id, columns)
        await _check_input(context.flows, flow.published_version_id if flow else None, given["input"])

    def work(uow: UnitOfWork) -> UUID:
        row = schedules.locked(uow, seen.id)
        if row is None:
            raise ScheduleNotFoundError
        timing = {name: values.get(name, getattr(row, name)) for name in _TIMING}
        changes = {**values, "updated_at": clock.now()}
        if any(timing[name] != getattr(row, name) for name in _TIMING) or (row.enabled and row.next_fire_at is None):
            timetable = _timetable(timing["cron"], timing["time_zone"])
            changes["next_fire_at"] = _next(timetable, enabled=timing["enabled"])
        schedules.change(uow, row.id, changes)
        key: UUID = row.id
        return key

    return await context.database.write(work)


async def remove(context: Context, schedule_id: str) -> None:
    """Deletes a schedule; the runs that it started stay.

    Raises:
        InvalidIdError, ScheduleNotFoundError.
    """
    row = await get(context, schedule_id, frozenset())
    if row is None or not await context.database.write(schedules.remove, row.id):
        raise ScheduleNotFoundError


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _CHECKS[name](value) if name in _CHECKS and value is not None else value for name, value in given.items()
    }


def _timetable(cron: str, time_zone: str) -> CronSchedule:
    problems: list[Problem] = []
    zone, timetable = None, None
    try:
        zone = get_zone(time_zone)
    except ValueError as error:
        problems.append(Problem("timeZone", str(error)))
    try:
        timetable = CronSchedule(cron, zone or get_zone("UTC"))
    except ValueError as error:
        problems.append(Problem("cron", str(error)))
    if timetable is not None and timetable.after(clock.now()) is None:
        problems.append(Problem("cron", "It never fires."))
    if problems or timetable is None:
        raise ScheduleInvalidError(problems)
    return timetable


def _next(timetable: CronSchedule, *, enabled: bool) -> datetime | None:
    return timetable.after(clock.now()) if enabled else None


async def _check_input(flow_cache: FlowCache, version_id: UUID | None, value: Any) -> None:
    """Checks `value` against the input schema of the published version, if there is one."""
    if version_id is not None:
        (await flow_cache.get(version_id)).check_input(value)
