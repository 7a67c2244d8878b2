"""The texts of notifications, rendered from the rows as they are when a message is sent."""

from typing import NamedTuple

from db.alerts.sources import NotificationSources
from db.outbound_row_types import AlertRow, NotificationRow
from domain import ids
from domain.ids import IdKind
from domain.outbound.alert import DEFAULT_THRESHOLDS, AlertCondition

MAX_TITLE = 150
"""Characters of a title: mail programs and chats show no more."""
MAX_ERROR = 500
"""Characters of an error message."""
_TITLES = {
    AlertCondition.FAILURE: "{count} failed",
    AlertCondition.NEW_ERROR: "new error, {count} failed",
    AlertCondition.CONSECUTIVE_FAILURES: "{count} failed in a row",
    AlertCondition.LATE: "{count} late",
    AlertCondition.SLOW: "{count} slower than usual",
}


class Message(NamedTuple):
    """A message to people, as plain text."""

    title: str
    """One line."""
    body: str


def render(notification: NotificationRow, alert: AlertRow, sources: NotificationSources) -> Message:
    """Returns the message of a notification."""
    if notification.is_test:
        return Message(_title(f"Flow Runs: test of {alert.name}"), f"This is a test of the alert {alert.name!r}.\n")
    condition = AlertCondition(alert.condition)
    if condition is AlertCondition.ENDPOINT_DISABLED:
        return _of_endpoint(notification, alert, sources)
    noun = "schedule" if _is_of_schedules(notification, condition) else "run"
    count = f"{notification.count:,} {noun if notification.count == 1 else noun + 's'}"
    flow = sources.flow_name or "a deleted flow"
    title = _title(f"{flow}: {_TITLES[condition].format(count=count)}")
    paragraphs = [f"{title}.", "", *_details(notification, condition, alert, sources)]
    return Message(title, "\n".join(paragraphs) + "\n")


def _of_endpoint(notification: NotificationRow, alert: AlertRow, sources: NotificationSources) -> Message:
    title = _title(f"Flow Runs: endpoint {sources.endpoint_name or '(deleted)'} disabled")
    why = {
        "GONE": "It answered 410 Gone.",
        "FAILING": "It has accepted no event for three days.",
    }.get(sources.disabled_reason or "", "It is enabled again, or was deleted.")
    assert notification.endpoint_id is not None  # of this condition
    name = ids.encode(IdKind.ENDPOINT, notification.endpoint_id)
    return Message(title, f"{title}.\n\n{why}\nEndpoint: {name}\nAlert: {alert.name}\n")


def _is_of_schedules(notification: NotificationRow, condition: AlertCondition) -> bool:
    """True for schedules that no worker has served: alone among the events about a flow they have no run."""
    return condition is AlertCondition.LATE and notification.run_id is None


def _details(
    notification: NotificationRow, condition: AlertCondition, alert: AlertRow, sources: NotificationSources
) -> list[str]:
    first, last = (f"{at:%Y-%m-%d %H:%M:%S} UTC" for at in (notification.first_at, notification.last_at))
    paragraphs = [f"When: {first}" if notification.count == 1 else f"When: {first} to {last}"]
    threshold = alert.threshold or DEFAULT_THRESHOLDS.get(condition)
    if _is_of_schedules(notification, condition):
        paragraphs.append(f"No worker has started their runs for {threshold:,} ms: check that workers run.")
    elif condition is AlertCondition.LATE:
        paragraphs.append(f"No worker has claimed them for {threshold:,} ms.")
    if condition is AlertCondition.SLOW:
        paragraphs.append(f"They took at least {threshold:,} % of the 95th percentile of earlier runs.")
    if (run := sources.run) is not None:
        paragraphs.append(f"Last run: {ids.encode(IdKind.RUN, run.id)} ({run.status}, {run.environment})")
        if run.error_code is not None:
            step = f" in step {run.failed_step_name}" if run.failed_step_name else ""
            paragraphs.append(f"Error: {run.error_code}{step}: {_line(run.error_message or '')[:MAX_ERROR]}")
        if run.duration_ms is not None and condition is AlertCondition.SLOW:
            paragraphs.append(f"Duration: {run.duration_ms:,} ms")
    elif notification.run_id is not None:
        paragraphs.append("The last run was deleted.")
    return [*paragraphs, f"Alert: {alert.name}"]


def _title(text: str) -> str:
    text = _line(text)
    return text if len(text) <= MAX_TITLE else f"{text[: MAX_TITLE - 1]}…"


def _line(text: str) -> str:
    """Returns a text as one line, so that it begins no header and no paragraph of its own."""
    return " ".join(text.split())
