"""Questions on which runs wait."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from db.sql.rows import AnyRow
from domain.ids import IdKind
from schema.fields import column, id_column, json_column


@strawberry.type(description="A question on which a run waits: answer it with `resumeRun`.")
class InputRequest:
    """A question on which a run waits."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.INPUT_REQUEST, "The question's ID.")
    step_name: str = column("step_name", "The step that asks.")
    title: str = column("title", "The question, in a line.")
    description: str | None = column("description", "More about it.")
    schema: JSON = json_column("answer_schema", "The JSON Schema that the answer must fit.")
    assignee: str | None = column("assignee", "Whom the question is for.")
    created_at: datetime = column("created_at", "When it was asked.")
    expires_at: datetime | None = column("expires_at", "From when on no answer is taken.")
