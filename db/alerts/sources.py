"""The rows that the message of a notification is rendered from."""

from typing import NamedTuple

from sqlalchemy import Connection

from db import flows
from db.alerts import alerts
from db.deliveries import endpoints
from db.outbound_row_types import AlertRow, NotificationRow
from db.row_types import RunRow
from db.runs import reads as run_reads

_RUN_COLUMNS = frozenset(
    {"status", "environment", "error_code", "error_message", "failed_step_name", "duration_ms", "flow_id"}
)
_ALERT_COLUMNS = frozenset({"name", "condition", "threshold", "key_id", "sealed", "enabled"})


class NotificationSources(NamedTuple):
    """What a notification refers to."""

    alert: AlertRow | None
    run: RunRow | None
    """None: there is no run, or it was deleted."""
    flow_name: str | None
    endpoint_name: str | None
    disabled_reason: str | None
    """Why the endpoint is disabled; None: it is not."""


def load(conn: Connection, notification: NotificationRow) -> NotificationSources:
    """Returns the rows that a notification refers to."""
    found = notification
    run = run_reads.by_ids(conn, [found.run_id], _RUN_COLUMNS).get(found.run_id) if found.run_id else None
    flow = flows.by_ids(conn, [found.flow_id], {"name"}).get(found.flow_id) if found.flow_id else None
    columns = {"name", "disabled_reason"}
    endpoint_id = found.endpoint_id
    endpoint = endpoints.by_ids(conn, [endpoint_id], columns).get(endpoint_id) if endpoint_id else None
    return NotificationSources(
        alert=alerts.by_ids(conn, [found.alert_id], _ALERT_COLUMNS).get(found.alert_id),
        run=run,
        flow_name=flow.name if flow else None,
        endpoint_name=endpoint.name if endpoint else None,
        disabled_reason=endpoint.disabled_reason if endpoint else None,
    )
