"""What holds for the service as a whole."""

import strawberry

from resolvers.holds import holds
from schema.fields import Info, columns_of, field
from schema.types.holds.hold import Hold


@strawberry.type(description="The state of the service.")
class ServiceQuery:
    """The state of the service, a part of the root type."""

    @field("The drain, by which workers take no runs (`python -m service drain`); null if they take runs.")
    async def drain(self, info: Info) -> Hold | None:
        row = await holds.drain(info.context, columns_of(info, Hold))
        return Hold(row=row) if row is not None else None
