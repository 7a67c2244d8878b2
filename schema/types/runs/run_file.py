"""Files that runs produce."""

from datetime import datetime

import strawberry

from db.row_json.sources import Key
from db.row_types import FileRow
from domain import ids
from domain.ids import IdKind
from schema.fields import column, field, id_column
from schema.relay.node import Node
from schema.scalars import BigInt


@strawberry.type(description="A file that a step of a run produced.")
class RunFile(Node):
    """A file that a step of a run produced."""

    row: strawberry.Private[FileRow]

    id: strawberry.ID = id_column(IdKind.FILE, "The file's ID.")
    name: str = column(
        "name", "The name, without a path. A run may have several files with one name: the newest one counts."
    )
    size: BigInt = column("size", "The size in bytes.")
    media_type: str = column("media_type", "The media type, such as text/csv.")
    step_name: str = column("step_name", "The name of the step that stored the file.")
    attempt: int = column("attempt", "The attempt at the step that stored the file, from 1.")
    created_at: datetime = column("created_at", "The instant at which the file was stored.")

    @field(
        "The path to download the file from, relative to the address of the service. The request needs the same "
        "API key.",
        "id",
        written=Key(IdKind.FILE.value, before="/files/"),
    )
    def url(self) -> str:
        return f"/files/{ids.encode(IdKind.FILE, self.row.id)}"
