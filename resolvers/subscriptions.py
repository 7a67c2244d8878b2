"""What subscribers are told."""

import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from db import runs
from db.events import Place
from db.rows import AnyRow
from domain.run_filter import RunFilter
from events import tail
from resolvers.context import Context
from resolvers.pagination import seal, unseal

# The transaction and the number of an event.
_CURSOR = struct.Struct(">qq")


@dataclass(frozen=True, slots=True)
class Told:
    """A status change; or, without one, that the subscriber has caught up."""

    cursor: str
    change: AnyRow | None = None


async def status_changes(context: Context, wanted: RunFilter, after: str | None) -> AsyncGenerator[Told, None]:
    """The status changes of runs that `wanted`, a scoped filter, means when they are told.

    Raises:
        InvalidCursorError: `after` is damaged.
    """
    place = Place(*unseal(_CURSOR, after)) if after is not None else None
    async with aclosing(tail.follow(context.database, wanted.project_ids, place)) as log:
        async for read in log:
            if isinstance(read, tail.Caught):
                yield Told(_cursor(read.place))
                continue
            meant = await context.database.read(runs.matching, list({row.run_id for row in read}), wanted)
            for row in read:
                if row.run_id in meant:
                    yield Told(_cursor(Place(row.xid, row.seq)), row)


def _cursor(place: Place) -> str:
    return seal(_CURSOR.pack(place.xid, place.seq))
