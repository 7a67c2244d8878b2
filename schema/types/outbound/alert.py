"""Alerts and notifications."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from db import flows, projects
from db.alerts import alerts as db_alerts
from db.deliveries import endpoints
from db.outbound_row_types import AlertRow, NotificationRow
from db.runs import reads
from domain import ids
from domain.ids import IdKind
from domain.outbound.alert import DEFAULT_THRESHOLDS
from resolvers.outbound import alerts
from schema.enums import AlertCondition, NotificationStatus
from schema.fields import Info, column, field, id_column, json_column, link
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.relay.node import Node
from schema.types.actor import Actor, actor_column
from schema.types.flow import Flow
from schema.types.flow_run import FlowRun
from schema.types.outbound.endpoint import Endpoint
from schema.types.project import Project


@strawberry.type(description="A rule that sends messages to people by e-mail or chat. Only ADMINs see it.")
class Alert(Node):
    """A rule that sends messages to people."""

    row: strawberry.Private[AlertRow]

    id: strawberry.ID = id_column(IdKind.ALERT, "The alert's ID.")
    name: str = column("name", "The name of the alert.")
    condition: AlertCondition = column("condition", "When it sends a message.", convert=AlertCondition)
    filter: JSON = json_column("run_filter", "The `FlowRunFilter` that runs match after the event.")
    quiet_seconds: int = column(
        "quiet_seconds",
        "Seconds after a message in which no further one is sent about equal events. They are one message at its end.",
    )
    enabled: bool = column("enabled", "False if the alert counts no events and sends no messages.")
    target_scheme: str = column(
        "hint", "The scheme of the target, such as `mailto` or `slack`. The target itself is stored encrypted."
    )
    created_at: datetime = column("created_at", "The creation.")
    changed_at: datetime = column("changed_at", "The last change.")
    changed_by: Actor = actor_column("changed_by", "Who changed it last.")

    project: Project = link("The project whose runs it watches.", "project_id", projects.by_ids, "project")

    @field(
        "The number of failures in a row, milliseconds or percent from which the condition holds; null for conditions"
        " without a threshold.",
        "threshold",
        "condition",
    )
    def threshold(self) -> int | None:
        return self.row.threshold or DEFAULT_THRESHOLDS.get(AlertCondition(self.row.condition))

    @field("The notifications of the alert, newest first.", "project_id")
    async def notifications(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> "Connection[Notification]":
        source = alerts.notifications_of(info.context, self.row)
        return await connect(info, Notification, source, PageArguments(first, after, last, before))


@strawberry.type(
    description="A message of an alert. It stores no values of runs: the text is rendered when it is sent. Only ADMINs"
    " see it."
)
class Notification(Node):
    """A message of an alert."""

    row: strawberry.Private[NotificationRow]

    id: strawberry.ID = id_column(IdKind.NOTIFICATION, "The notification's ID.")
    status: NotificationStatus = column("status", "Its state.", convert=NotificationStatus)
    is_test: bool = column("is_test", "True if `testAlert` sent it.")
    count: int = column("count", "Number of equal events that it reports; 0 for a test.")
    first_at: datetime = column("first_at", "The first of these events.")
    last_at: datetime = column("last_at", "The last of these events.")
    attempt_count: int = column("attempts", "Number of attempts so far.")
    message: str | None = column("message", "Why the last attempt failed, for people; null if it succeeded.")
    created_at: datetime = column("created_at", "When it was created.")
    ended_at: datetime | None = column("ended_at", "When it was sent, or had failed; null while it is pending.")

    @field("The last run of these events; null if there is none. It may have been deleted.", "run_id")
    def run_id(self) -> strawberry.ID | None:
        key = self.row.run_id
        return strawberry.ID(ids.encode(IdKind.RUN, key)) if key is not None else None

    run: FlowRun | None = link(
        "The run; null if there is none, or if it was deleted.", "run_id", reads.by_ids, "flow_run"
    )
    flow: Flow | None = link("Its flow; null if there is none, or if it was deleted.", "flow_id", flows.by_ids, "flow")
    endpoint: Endpoint | None = link(
        "The endpoint that was disabled; null if it is about runs, or if it was deleted.",
        "endpoint_id",
        endpoints.by_ids,
        "endpoint",
    )
    alert: Alert | None = link("The alert; null if it was deleted.", "alert_id", db_alerts.by_ids, "alert")
