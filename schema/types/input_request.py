"""Human-input requests."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry.scalars import JSON

from db import flows, projects
from db.row_types import InputRequestRow
from db.runs import reads
from domain.ids import IdKind
from schema.enums import InputRequestStatus
from schema.fields import column, id_column, json_column, link
from schema.relay.node import Node
from schema.types.actor import Actor, actor_column
from schema.types.flow import Flow
from schema.types.project import Project

if TYPE_CHECKING:
    from schema.types.flow_run import FlowRun
else:
    # The module of FlowRun imports this one.
    FlowRun = Annotated["FlowRun", strawberry.lazy("schema.types.flow_run")]


@strawberry.type(description="A request for human input that pauses a run. Answer it with `resumeRun`.")
class InputRequest(Node):
    """A request for human input that pauses a run."""

    row: strawberry.Private[InputRequestRow]

    id: strawberry.ID = id_column(IdKind.INPUT_REQUEST, "The request's ID.")
    status: InputRequestStatus = column(
        "status",
        "The status. A PENDING request whose `expiresAt` has passed accepts no response, and is EXPIRED soon.",
        convert=InputRequestStatus,
    )
    step_name: str = column("step_name", "The name of the step that asks the question.")
    title: str = column("title", "The question, in one line.")
    description: str | None = column("description", "A longer explanation; null if there is none.")
    schema: JSON = json_column("answer_schema", "The JSON Schema that the response must match.")
    assignee: str | None = column("assignee", "The person or group that should answer; null if anyone may.")
    created_at: datetime = column("created_at", "The instant of the request's creation.")
    expires_at: datetime | None = column(
        "expires_at", "The instant after which responses are refused; null if the request does not expire."
    )
    answer: JSON | None = json_column(
        "answer", "The response, with values of secrets masked; null unless the status is ANSWERED."
    )
    answered_at: datetime | None = column(
        "answered_at", "The instant at which the response was accepted; null if there is none."
    )
    answered_by: Actor | None = actor_column(
        "answered_by", "Who responded; null if there is no response, or if it was accepted before this was recorded."
    )

    run: FlowRun = link("The run that waits for the response.", "run_id", reads.by_ids, "flow_run")
    flow: Flow = link("The flow of the run.", "flow_id", flows.by_ids, "flow")
    project: Project = link("The project of the run.", "project_id", projects.by_ids, "project")
