"""Human-input requests."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from db.row_types import InputRequestRow
from domain.ids import IdKind
from schema.enums import InputRequestStatus
from schema.fields import column, id_column, json_column
from schema.types.actor import Actor, actor_column


@strawberry.type(description="A request for human input that pauses a run. Answer it with `resumeRun`.")
class InputRequest:
    """A request for human input that pauses a run."""

    row: strawberry.Private[InputRequestRow]

    id: strawberry.ID = id_column(IdKind.INPUT_REQUEST, "The request's ID.")
    step_name: str = column("step_name", "The name of the step that asks.")
    status: InputRequestStatus = column("status", "The status of the request.", convert=InputRequestStatus)
    title: str = column("title", "The question, in one line.")
    description: str | None = column("description", "A longer explanation; null if there is none.")
    schema: JSON = json_column("answer_schema", "The JSON Schema that the response must match.")
    assignee: str | None = column("assignee", "The person or group that should answer; null if anyone may.")
    created_at: datetime = column("created_at", "The creation of the request.")
    expires_at: datetime | None = column(
        "expires_at", "The instant after which responses are refused; null if it does not expire."
    )
    answered_at: datetime | None = column("answered_at", "When the response was accepted; null if there is none.")
    answered_by: Actor | None = actor_column(
        "answered_by", "Who responded; null if nobody did, or if it was before this was recorded."
    )
