"""Files that runs produce."""

from datetime import datetime

import strawberry

from db.row_json.sources import Key
from db.row_types import FileRow
from domain import ids
from domain.ids import IdKind
from schema.fields import column, field, id_column
from schema.scalars import BigInt
from schema.types.node import Node


@strawberry.type(description="A file that a step of a run produced.")
class RunFile(Node):
    """A file that a step of a run produced."""

    row: strawberry.Private[FileRow]

    id: strawberry.ID = id_column(IdKind.FILE, "The file's ID.")
    name: str = column(
        "name", "The name, without a path. A run may have several files with one name: the newest is the valid one."
    )
    size: BigInt = column("size", "The size in bytes.")
    media_type: str = column("media_type", "The media type, such as text/csv.")
    step_name: str = column("step_name", "The name of the step that produced it.")
    attempt: int = column("attempt", "The attempt at the step that produced it, from 1.")
    created_at: datetime = column("created_at", "The instant at which it was stored.")

    @field(
        "The path to download it from, relative to the address of the service. It needs the same API key.",
        "id",
        written=Key(IdKind.FILE.value, before="/files/"),
    )
    def url(self) -> str:
        return f"/files/{ids.encode(IdKind.FILE, self.row.id)}"
