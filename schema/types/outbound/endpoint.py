"""Endpoints and deliveries."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from db import projects
from db.deliveries import endpoints, log
from db.deliveries.log import DeliveryFilter
from db.outbound_row_types import DeliveryAttemptRow, DeliveryRow, EndpointRow
from db.row_json.sources import Column, Form
from db.runs import reads
from domain import ids, json_codec
from domain.ids import IdKind
from resolvers.outbound import deliveries
from resolvers.outbound import endpoints as endpoint_resolvers
from schema.enums import AttemptError, DeliveryStatus, DisabledReason, EventKind
from schema.fields import Info, column, columns_of, field, id_column, json_column, link
from schema.relay.connection import After, Before, Connection, First, Last, PageArguments, connect
from schema.relay.node import Node
from schema.types.actor import Actor, actor_column
from schema.types.flow_run import FlowRun
from schema.types.project import Project


def _kinds(text: str) -> list[EventKind]:
    return [EventKind(kind) for kind in json_codec.decode(text)]


@strawberry.type(
    description="A URL of another system to which the service sends events of some runs, signed as Standard Webhooks"
    " says. Only ADMINs see it."
)
class Endpoint(Node):
    """A URL to which events are sent."""

    row: strawberry.Private[EndpointRow]

    id: strawberry.ID = id_column(IdKind.ENDPOINT, "The endpoint's ID.")
    name: str = column("name", "The name of the endpoint.")
    filter: JSON = json_column("run_filter", "The `FlowRunFilter` that runs match after the events that are sent.")
    kinds: list[EventKind] = column(
        "kinds", "The kinds of events that are sent.", convert=_kinds, written=Column("kinds", Form.JSON)
    )
    payloads: bool = column("payloads", "True if bodies have inputs, outputs and messages of runs.")
    enabled: bool = column("enabled", "False if the endpoint gets no events. What is pending waits.")
    disabled_reason: DisabledReason | None = column(
        "disabled_reason", "Why the endpoint gets no events; null while it gets them.", convert=DisabledReason
    )
    disabled_at: datetime | None = column("disabled_at", "When it was disabled; null while it gets events.")
    failing_since: datetime | None = column(
        "failing_since",
        "The first failed attempt since the last one that succeeded; null if the last one succeeded. After three days"
        " the endpoint is disabled.",
    )
    secret_overlap_until: datetime | None = column(
        "old_until", "Until when the secret before the last rotation signs too, or signed; null without a rotation."
    )
    created_at: datetime = column("created_at", "The creation.")
    changed_at: datetime = column("changed_at", "The last change, by a client or by the service.")
    changed_by: Actor = actor_column("changed_by", "Who changed it last.")

    @field(
        "The URL; null for the endpoint of callbacks, which sends the events of a run to its `callbackUrl`. It is"
        " stored encrypted: the error `ENDPOINT_URL_UNREADABLE` says that the service lacks the key.",
        "url",
        "url_key_id",
        "url_sealed",
    )
    def url(self, info: Info) -> str | None:
        return endpoint_resolvers.url_of(info.context, self.row)

    project: Project = link("The project whose events are sent.", "project_id", projects.by_ids, "project")

    @field("The deliveries to the endpoint, newest first.", "project_id")
    async def deliveries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> "Connection[Delivery]":
        where = DeliveryFilter(project_ids=[self.row.project_id], endpoint_ids=[self.row.id])
        source = deliveries.list_of(info.context, where)
        return await connect(info, Delivery, source, PageArguments(first, after, last, before))


@strawberry.type(description="One attempt of a delivery.")
class DeliveryAttempt:
    """One attempt of a delivery."""

    row: strawberry.Private[DeliveryAttemptRow]

    number: int = column("number", "Counted from 1.")
    started_at: datetime = column("started_at", "When it began.")
    duration_ms: int = column("duration_ms", "Milliseconds until the receiver answered, or the attempt was given up.")
    response_status: int | None = column("response_status", "The HTTP status of the response; null if there was none.")
    error: AttemptError | None = column("error", "Why the attempt failed; null if it succeeded.", convert=AttemptError)
    message: str | None = column(
        "message", "What went wrong, for people; null if nothing did, and once the run was erased."
    )
    excerpt: str | None = column(
        "excerpt",
        "The beginning of the response, at most 1 KiB, with secrets masked; null if there was none, and once the run"
        " was erased.",
    )


@strawberry.type(
    description="An event that is sent to an endpoint until that has taken it. It stores no values of the run: the body"
    " is rendered when it is sent. Only ADMINs see it."
)
class Delivery(Node):
    """An event that is sent to an endpoint."""

    row: strawberry.Private[DeliveryRow]

    id: strawberry.ID = id_column(
        IdKind.DELIVERY,
        "The delivery's ID, the header `webhook-id` of every attempt: receivers find repetitions by it.",
    )
    kind: EventKind = column("kind", "The kind of the event.", convert=EventKind)
    status: DeliveryStatus = column("status", "What became of it.", convert=DeliveryStatus)
    attempt_count: int = column("attempts", "Number of attempts so far.")
    response_status: int | None = column("response_status", "The HTTP status of the last response, if there was one.")
    event_at: datetime = column("at", "The instant of the event.")
    created_at: datetime = column("created_at", "When the delivery was created.")
    ended_at: datetime | None = column("ended_at", "When it ended; null while it is pending.")

    @field("The next attempt; null while one is under way, and if there is none.", "due_at", "lease_token")
    def next_attempt_at(self) -> datetime | None:
        return None if self.row.lease_token is not None else self.row.due_at

    @field("The run that the event is about; null for a test. It may have been deleted.", "run_id")
    def run_id(self) -> strawberry.ID | None:
        key = self.row.run_id
        return strawberry.ID(ids.encode(IdKind.RUN, key)) if key is not None else None

    run: FlowRun | None = link("The run; null for a test, and if it was deleted.", "run_id", reads.by_ids, "flow_run")
    endpoint: Endpoint | None = link(
        "The endpoint; null if it was deleted.", "endpoint_id", endpoints.by_ids, "endpoint"
    )

    @field("True if it was sent to the `callbackUrl` of the run.", "callback_run_id")
    def is_callback(self) -> bool:
        return self.row.callback_run_id is not None

    @field("The attempts, the first one first.", "id")
    async def attempts(self, info: Info) -> list[DeliveryAttempt]:
        rows: Any = await info.context.loaders.load(
            log.attempts_of, self.row.id, columns_of(info, DeliveryAttempt) - {"number"}
        )
        return [DeliveryAttempt(row=row) for row in rows or ()]
