"""Reads and writes of schedules."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db import audit_events, schedules
from db import flows as db_flows
from db.core.unit_of_work import UnitOfWork
from db.row_types import FlowRow, ScheduleRow
from db.runs import cancellation
from db.schedules import ScheduleFilter
from domain import ids
from domain.actor import Actor, Origin
from domain.audit import AuditAction
from domain.enums import RunStatus
from domain.errors import (
    FlowNotFoundError,
    InvalidArgumentError,
    ScheduleInvalidError,
    ScheduleNotFoundError,
)
from domain.ids import IdKind
from domain.problem import Problem
from domain.time import clock, cron_syntax
from domain.time.cron import CronSchedule, get_zone
from engine.compiled_flow import FlowCache
from resolvers import authorize, flows, values
from resolvers.context import Context
from resolvers.lists import RowList

_ORDERING = 66
"""The number by which a cursor names the order of schedules."""
MAX_SCHEDULES = 100
"""Largest number of schedules of one flow."""
MAX_PREVIEW = 100
"""Largest number of fire times that `nextFires` returns."""

_CONVERTERS: Mapping[str, Any] = {
    "name": lambda name: values.check_text("name", name),
    "input": values.encode_input,
    "metadata": values.encode_metadata,
    "tags": values.check_tags,
    "cron": lambda text: " ".join(text.split()),
}
"""For each column, the function that checks a client's value and returns the stored one. Other columns store the value
unchanged."""
_TIMING_COLUMNS = ("cron", "time_zone", "enabled")
"""The columns that decide the next fire time."""
_WITHHELD = frozenset({"input", "metadata"})
"""Columns that may hold personal data or secrets: the audit log does not repeat them."""
_VERSION = frozenset({"published_version_id"})


async def get(context: Context, schedule_id: str, columns: frozenset[str]) -> ScheduleRow | None:
    """Returns the schedule `schedule_id`; None if the viewer can see no such schedule.

    Raises:
        InvalidIdError: `schedule_id` is not the ID of a schedule.
    """
    row = await context.loaders.load(schedules.by_ids, ids.decode(IdKind.SCHEDULE, schedule_id), columns)
    return row if authorize.can_see(context.viewer, row) else None


def list_of(context: Context, where: ScheduleFilter) -> RowList:
    """Returns the schedules that match a filter and that the viewer can see, newest first."""
    visible = authorize.visible_projects(context.viewer, where.project_ids)
    return RowList(context.database, schedules.LISTING, replace(where, project_ids=visible), _ORDERING)


def preview(cron: str, time_zone: str, count: int) -> list[datetime]:
    """Returns the next `count` fire times of a schedule, as if it were enabled; fewer if there are no more.

    Raises:
        InvalidArgumentError: `count` is out of range.
        ScheduleInvalidError: the service no longer knows the time zone.
    """
    if not 1 <= count <= MAX_PREVIEW:
        raise InvalidArgumentError(f"`count` must be between 1 and {MAX_PREVIEW}, got {count}.")
    cron_schedule = _parse_cron(cron, time_zone)
    fire_times: list[datetime] = []
    fire_time = cron_schedule.after(clock.now())
    while fire_time is not None and len(fire_times) < count:
        fire_times.append(fire_time)
        fire_time = cron_schedule.after(fire_time)
    return fire_times


async def create(context: Context, flow_id: str, given: Mapping[str, Any]) -> UUID:
    """Creates a schedule from `given`, the client's values of all columns that it can set; returns its ID.

    Raises:
        InvalidIdError, InvalidArgumentError, FlowNotFoundError, ScheduleInvalidError, InputInvalidError,
        InputTooLargeError.
    """
    flow = await flows.get_kept(context, flow_id, _VERSION)
    columns = _convert(given)
    _check_syntax(columns)
    cron_schedule = _parse_cron(columns["cron"], columns["time_zone"])
    await _check_input(context.flows, flow, given["input"])
    columns["next_fire_at"] = cron_schedule.after(clock.now()) if columns["enabled"] else None
    return await context.database.write(_create, context.origin, flow, columns)


def _create(uow: UnitOfWork, origin: Origin, flow: FlowRow, columns: Mapping[str, Any]) -> UUID:
    if not db_flows.keep(uow, flow.id):
        raise FlowNotFoundError(flows.BEING_DELETED)
    if schedules.count(uow.conn, flow.id) >= MAX_SCHEDULES:
        raise InvalidArgumentError(f"The flow already has {MAX_SCHEDULES} schedules, the maximum. Delete one first.")
    schedule_id = ids.new_uuid()
    now = ids.created_at(schedule_id)
    own = {"id": schedule_id, "project_id": flow.project_id, "flow_id": flow.id, "created_at": now, "updated_at": now}
    schedules.create(uow, {**columns, **own})
    details = {"name": columns["name"], "cron": columns["cron"], "timeZone": columns["time_zone"]}
    audit_events.record(
        uow,
        origin,
        AuditAction.CREATE_SCHEDULE,
        IdKind.SCHEDULE,
        schedule_id,
        flow.project_id,
        flow_id=flow.id,
        details=details,
    )
    return schedule_id


class UpdatedSchedule(NamedTuple):
    """A schedule that was changed."""

    id: UUID
    cancelled_runs: int
    """Runs of its backlog that were cancelled."""


async def update(
    context: Context, schedule_id: str, given: Mapping[str, Any], *, cancel_backlog: bool = False
) -> UpdatedSchedule:
    """Sets the columns `given` of a schedule.

    If its timing changes, the schedule continues from now: missed fire times before are forgotten. `cancel_backlog`
    cancels its runs that have not begun; the schedule must be disabled, else it would start the next ones.

    Raises:
        InvalidIdError, InvalidArgumentError, ScheduleNotFoundError, ScheduleInvalidError, InputInvalidError,
        InputTooLargeError.
    """
    schedule = await get(context, schedule_id, frozenset({"flow_id"}))
    if schedule is None:
        raise ScheduleNotFoundError
    columns = _convert(given)
    _check_syntax(columns)
    if "input" in given:
        flow = await context.loaders.load_existing(db_flows.by_ids, schedule.flow_id, _VERSION)
        await _check_input(context.flows, flow, given["input"])
    message = context.viewer.actor.cancellation_message if cancel_backlog else None
    cancelled = await context.database.write(_update, context.origin, schedule.id, columns, message)
    return UpdatedSchedule(schedule.id, cancelled)


def _update(
    uow: UnitOfWork, origin: Origin, schedule_id: UUID, columns: Mapping[str, Any], cancel_message: str | None
) -> int:
    """Changes a schedule; with a `cancel_message` cancels its backlog. Returns the number of cancelled runs."""
    schedule = schedules.locked(uow, schedule_id)
    if schedule is None:
        raise ScheduleNotFoundError
    timing = {name: columns.get(name, getattr(schedule, name)) for name in _TIMING_COLUMNS}
    changes = {**columns, "updated_at": clock.now()}
    is_new_timing = any(timing[name] != getattr(schedule, name) for name in _TIMING_COLUMNS)
    if is_new_timing or (schedule.enabled and schedule.next_fire_at is None):
        cron_schedule = _parse_cron(timing["cron"], timing["time_zone"])
        changes["next_fire_at"] = cron_schedule.after(clock.now()) if timing["enabled"] else None
    schedules.change(uow, schedule_id, changes)
    details = audit_events.changes({name: getattr(schedule, name) for name in columns}, columns, _WITHHELD)
    cancelled = 0
    if cancel_message is not None:
        if timing["enabled"]:
            raise InvalidArgumentError("`cancelBacklog` needs a disabled schedule: set `enabled` to false.")
        cancelled = _cancel_backlog(uow, schedule, cancel_message, origin.actor)
        details["cancelledRuns"] = cancelled
    _record(uow, origin, AuditAction.UPDATE_SCHEDULE, schedule, details)
    return cancelled


def _cancel_backlog(uow: UnitOfWork, schedule: ScheduleRow, message: str, by: Actor) -> int:
    queued = schedules.live_runs(uow.conn, schedule, {RunStatus.QUEUED})
    return len(cancellation.stop_all(uow, queued, message, by, {RunStatus.QUEUED}))


async def remove(context: Context, schedule_id: str, *, cancel_backlog: bool = False) -> int:
    """Deletes a schedule. Its runs stay; `cancel_backlog` cancels those that have not begun, and returns their number.

    Raises:
        InvalidIdError, ScheduleNotFoundError.
    """
    schedule = await get(context, schedule_id, frozenset())
    if schedule is None:
        raise ScheduleNotFoundError
    message = context.viewer.actor.cancellation_message
    return await context.database.write(_remove, context.origin, schedule.id, message if cancel_backlog else None)


def _remove(uow: UnitOfWork, origin: Origin, schedule_id: UUID, cancel_message: str | None) -> int:
    schedule = schedules.locked(uow, schedule_id)
    if schedule is None or not schedules.remove(uow, schedule_id):
        raise ScheduleNotFoundError
    details: dict[str, Any] = {"name": schedule.name}
    cancelled = 0
    if cancel_message is not None:
        cancelled = _cancel_backlog(uow, schedule, cancel_message, origin.actor)
        details["cancelledRuns"] = cancelled
    _record(uow, origin, AuditAction.DELETE_SCHEDULE, schedule, details)
    return cancelled


def _record(
    uow: UnitOfWork, origin: Origin, action: AuditAction, schedule: ScheduleRow, details: Mapping[str, Any]
) -> None:
    audit_events.record(
        uow,
        origin,
        action,
        IdKind.SCHEDULE,
        schedule.id,
        schedule.project_id,
        flow_id=schedule.flow_id,
        details=details,
    )


def _convert(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the client's values as they are stored."""
    return {
        name: _CONVERTERS[name](value) if name in _CONVERTERS and value is not None else value
        for name, value in given.items()
    }


def _check_syntax(columns: Mapping[str, Any]) -> None:
    """Checks a cron expression that a client gives. Stored ones may be older than the rules.

    Raises:
        ScheduleInvalidError: with the problems of both arguments of the timing.
    """
    message = cron_syntax.problem(columns["cron"]) if "cron" in columns else None
    if message is None:
        return
    problems = [Problem("cron", message)]
    if "time_zone" in columns:
        try:
            get_zone(columns["time_zone"])
        except ValueError as error:
            problems.insert(0, Problem("timeZone", str(error)))
    raise ScheduleInvalidError(problems)


def _parse_cron(cron: str, time_zone: str) -> CronSchedule:
    """Returns the schedule of a cron expression.

    Raises:
        ScheduleInvalidError: with the problems of both arguments.
    """
    problems: list[Problem] = []
    zone, cron_schedule = None, None
    try:
        zone = get_zone(time_zone)
    except ValueError as error:
        problems.append(Problem("timeZone", str(error)))
    try:
        cron_schedule = CronSchedule(cron, zone or get_zone("UTC"))
    except ValueError as error:
        problems.append(Problem("cron", str(error)))
    if cron_schedule is not None and cron_schedule.after(clock.now()) is None:
        problems.append(Problem("cron", "The expression never fires."))
    if problems or cron_schedule is None:
        raise ScheduleInvalidError(problems)
    return cron_schedule


async def _check_input(flow_cache: FlowCache, flow: FlowRow, run_input: Any) -> None:
    """Checks that the published version accepts the input. Without one, any input can be stored."""
    if flow.published_version_id is not None:
        (await flow_cache.get(flow.published_version_id)).accept_input(run_input)
