"""The files that runs produced."""

from datetime import datetime

import strawberry

from db.sql.rows import AnyRow
from domain import ids
from domain.ids import IdKind
from schema.fields import column, field, id_column
from schema.scalars import BigInt
from schema.types.node import Node


@strawberry.type(description="A file that a step of a run produced.")
class RunFile(Node):
    """A file that a step of a run produced."""

    row: strawberry.Private[AnyRow]

    id: strawberry.ID = id_column(IdKind.FILE, "The file's ID.")
    name: str = column("name", "Its name, without a path. A run may have several files of one name: the last counts.")
    size: BigInt = column("size", "Its size in bytes.")
    media_type: str = column("media_type", "Its media type, such as text/csv.")
    step_name: str = column("step_name", "The step that stored it.")
    attempt: int = column("attempt", "The attempt at that step, from 1.")
    created_at: datetime = column("created_at", "When it was stored.")

    @field("Where to download it, below the address of this service, with the same key.", "id")
    def url(self) -> str:
        return f"/files/{ids.encode(IdKind.FILE, self.row.id)}"
