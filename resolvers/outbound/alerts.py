"""Alerts of projects: their management, and tests of their targets."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from db import audit_events, projects
from db.alerts import alerts, groups, notifications
from db.alerts.notifications import NotificationFilter
from db.core.unit_of_work import UnitOfWork
from db.deliveries import relay
from db.outbound_row_types import AlertRow, NotificationRow
from domain import ids
from domain.actor import Origin
from domain.audit import AuditAction
from domain.enums import Role
from domain.errors import (
    AlertInvalidError,
    AlertNotFoundError,
    InvalidArgumentError,
    ProjectNotFoundError,
)
from domain.ids import IdKind
from domain.outbound.alert import DEFAULT_THRESHOLDS, MAX_QUIET, MAX_THRESHOLD, MIN_QUIET, AlertCondition
from domain.problem import Problem
from domain.time import clock
from engine.alerts import mail
from engine.alerts.notifier import target_context
from resolvers import authorize, secrets, values
from resolvers.context import Context
from resolvers.lists import RowList
from resolvers.outbound import reads

MAX_ALERTS = 100
"""Alerts of one project. Every end of a run of the project is compared with each."""
MAX_TARGET_LENGTH = 2_000
"""Characters of a target."""
_ORDERING = 214
"""The number by which a cursor names the order of alerts."""
_NOTIFICATION_ORDERING = 215
"""The number by which a cursor names the order of notifications."""
_ALL = frozenset({"name", "run_filter", "condition", "threshold", "quiet_seconds", "enabled"})


def list_of(context: Context) -> RowList:
    """Returns the alerts that the viewer sees, newest first.

    Raises:
        ForbiddenError: the viewer is no ADMIN.
    """
    authorize.require(context.viewer, Role.ADMIN)
    visible = authorize.visible_projects(context.viewer, None)
    return RowList(context.database, alerts.LISTING, visible, _ORDERING)


def notifications_of(context: Context, alert: AlertRow) -> RowList:
    """Returns the notifications of an alert that the viewer sees, newest first."""
    where = NotificationFilter(project_ids=[alert.project_id], alert_ids=[alert.id])
    return RowList(context.database, notifications.LISTING, where, _NOTIFICATION_ORDERING)


async def get(context: Context, alert_id: str, columns: frozenset[str]) -> AlertRow | None:
    """Returns the alert `alert_id`; None if the viewer is no ADMIN or sees no such alert.

    Raises:
        InvalidIdError: `alert_id` is not the ID of an alert.
    """
    return await reads.get(context, IdKind.ALERT, alert_id, alerts.by_ids, columns)


async def get_notification(context: Context, notification_id: str, columns: frozenset[str]) -> NotificationRow | None:
    """Returns the notification `notification_id`; None if the viewer is no ADMIN or sees no such notification.

    Raises:
        InvalidIdError: `notification_id` is not the ID of a notification.
    """
    return await reads.get(context, IdKind.NOTIFICATION, notification_id, notifications.by_ids, columns)


async def create(context: Context, project_id: str | None, given: Mapping[str, Any]) -> UUID:
    """Creates an alert with the columns `given`, and its `target`; returns its key.

    Raises:
        InvalidIdError, InvalidArgumentError, ProjectRequiredError, ProjectNotFoundError, AlertInvalidError,
        SecretKeysMissingError.
        ForbiddenError: the viewer has no sight of payloads, which messages quote.
    """
    owner = authorize.decode_target_project(context.viewer, project_id)
    authorize.require_payloads(context.viewer)
    alert_id = ids.new_uuid()
    columns = _checked(context, alert_id, given, AlertCondition(given["condition"]))
    if owner is None:
        raise ProjectNotFoundError
    now = ids.created_at(alert_id)
    row = {
        **columns,
        "id": alert_id,
        "project_id": owner,
        "created_at": now,
        "changed_at": now,
        "changed_by": context.viewer.actor.text,
    }
    await context.database.write(_create, context.origin, row)
    return alert_id


def _create(uow: UnitOfWork, origin: Origin, row: Mapping[str, Any]) -> None:
    if not projects.keep(uow, row["project_id"]):
        raise ProjectNotFoundError
    newest = relay.begin_change(uow)
    if alerts.count(uow.conn, row["project_id"]) >= MAX_ALERTS:
        raise InvalidArgumentError(f"The project already has {MAX_ALERTS} alerts, the maximum. Delete one first.")
    alerts.create(uow, {**row, "after_seq": newest})
    details = {"name": row["name"], "condition": row["condition"], "targetScheme": row["hint"]}
    _record(uow, origin, AuditAction.CREATE_ALERT, row["id"], row["project_id"], details)


async def update(context: Context, alert_id: str, given: Mapping[str, Any]) -> UUID:
    """Sets the columns `given` of an alert, and its `target`; returns its key. What was counted so far is dropped.

    Raises:
        InvalidIdError, InvalidArgumentError, AlertNotFoundError, AlertInvalidError, SecretKeysMissingError.
        ForbiddenError: the viewer has no sight of payloads, which messages quote.
    """
    alert = await existing(context, alert_id)
    authorize.require_payloads(context.viewer)
    columns = _checked(context, alert.id, given, AlertCondition(given.get("condition", alert.condition)))
    if "condition" in columns:
        columns.setdefault("threshold", None)
    await context.database.write(_update, context.origin, alert.id, columns)
    return alert.id


def _update(uow: UnitOfWork, origin: Origin, alert_id: UUID, columns: Mapping[str, Any]) -> None:
    newest = relay.begin_change(uow)
    alert = alerts.locked(uow, alert_id)
    if alert is None:
        raise AlertNotFoundError
    changes = {**columns, "changed_at": clock.now(), "changed_by": origin.actor.text}
    if columns.get("enabled") is True and not alert.enabled:
        changes["after_seq"] = newest
    alerts.change(uow, alert_id, changes)
    if columns.keys() & {"condition", "run_filter", "enabled", "threshold"}:
        groups.remove(uow, alert_id)
    shown = {name: value for name, value in columns.items() if name in _ALL}
    details = audit_events.changes({name: getattr(alert, name) for name in shown}, shown, set())
    if "hint" in columns:
        details = {**details, "targetScheme": columns["hint"]}
    _record(uow, origin, AuditAction.UPDATE_ALERT, alert_id, alert.project_id, details)


async def remove(context: Context, alert_id: str) -> None:
    """Deletes an alert with its notifications.

    Raises:
        InvalidIdError, AlertNotFoundError.
    """
    alert = await existing(context, alert_id)
    await context.database.write(_remove, context.origin, alert)


def _remove(uow: UnitOfWork, origin: Origin, alert: AlertRow) -> None:
    relay.begin_change(uow)
    if not alerts.remove(uow, alert.id):
        raise AlertNotFoundError
    _record(uow, origin, AuditAction.DELETE_ALERT, alert.id, alert.project_id, {"name": alert.name})


async def test(context: Context, alert_id: str) -> UUID:
    """Sends a test to the target of an alert; returns the key of the notification.

    Raises:
        InvalidIdError, AlertNotFoundError.
    """
    alert = await existing(context, alert_id)
    row = groups.new_notification(alert.project_id, alert.id, clock.now(), is_test=True)
    await context.database.write(_test, context.origin, alert, row)
    notification_id: UUID = row["id"]
    return notification_id


def _test(uow: UnitOfWork, origin: Origin, alert: AlertRow, row: Mapping[str, Any]) -> None:
    notifications.create(uow, row)
    details = {"notificationId": ids.encode(IdKind.NOTIFICATION, row["id"])}
    _record(uow, origin, AuditAction.TEST_ALERT, alert.id, alert.project_id, details)


async def existing(context: Context, alert_id: str) -> AlertRow:
    """Returns an alert that the viewer sees.

    Raises:
        InvalidIdError, AlertNotFoundError.
    """
    alert = await get(context, alert_id, _ALL)
    if alert is None:
        raise AlertNotFoundError
    return alert


def _checked(context: Context, alert_id: UUID, given: Mapping[str, Any], condition: AlertCondition) -> dict[str, Any]:
    """Returns the client's values as they are stored.

    Raises:
        InvalidArgumentError: the name is invalid.
        AlertInvalidError: with every other problem.
        SecretKeysMissingError: the service has no key that encrypts the target.
    """
    columns = dict(given)
    problems: list[Problem] = []
    if "name" in columns:
        columns["name"] = values.check_text("name", columns["name"])
    if columns.get("threshold") is not None:
        if condition not in DEFAULT_THRESHOLDS:
            problems.append(Problem("threshold", f"The condition {condition} has no threshold"))
        elif not 1 <= columns["threshold"] <= MAX_THRESHOLD:
            problems.append(Problem("threshold", f"A threshold is between 1 and {MAX_THRESHOLD:,}"))
    if (quiet := columns.pop("quiet", None)) is not None:
        now = clock.now()
        duration = values.end_of("quiet", quiet, now) - now
        if not MIN_QUIET <= duration <= MAX_QUIET:
            problems.append(Problem("quiet", "The quiet period is between PT1M and P7D"))
        columns["quiet_seconds"] = int(duration.total_seconds())
    target = columns.pop("target", None)
    if target is not None and (message := _target_problem(target)):
        problems.append(Problem("target", message))
    if problems:
        raise AlertInvalidError(problems)
    if target is None:
        return columns
    sealed = secrets.sealed_columns(context, target, target_context(alert_id))
    return {**columns, **sealed, "hint": target.partition(":")[0]}


def _target_problem(target: str) -> str | None:
    """Returns what is wrong with a target; None: nothing is, as far as its text goes."""
    if len(target) > MAX_TARGET_LENGTH:
        return f"A target has at most {MAX_TARGET_LENGTH:,} characters"
    if target.startswith("mailto:"):
        try:
            mail.recipients_of(target)
        except ValueError as error:
            return str(error)
        return None
    scheme, separator, rest = target.partition("://")
    is_url = bool(separator and rest) and scheme.isascii() and scheme.isalnum() and target.isprintable()
    return None if is_url else "A target is `mailto:` with addresses, or an Apprise URL such as slack://…"


def _record(
    uow: UnitOfWork, origin: Origin, action: AuditAction, alert_id: UUID, project_id: UUID, details: Mapping[str, Any]
) -> None:
    audit_events.record(uow, origin, action, IdKind.ALERT, alert_id, project_id, details=details)
