"""What subscribers are told."""

import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from db import runs
from db.events import Place
from db.rows import AnyRow
from domain import payloads
from domain.bulk import ENDED
from domain.run_filter import RunFilter
from events import tail
from resolvers import bulk
from resolvers.context import Context
from resolvers.pagination import seal, unseal

# The transaction and the number of an event.
_CURSOR = struct.Struct(">qq")


@dataclass(frozen=True, slots=True)
class Told:
    """A change; or, without one, that the subscriber has caught up."""

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


async def bulk_progress(context: Context, operation_id: str, after: str | None) -> AsyncGenerator[Told, None]:
    """How a bulk operation goes on: without `after` how it stands first; ends with its end.

    Raises:
        InvalidIdError, InvalidCursorError, BulkOperationNotFoundError.
    """
    key = await bulk.visible(context, operation_id)
    place = Place(*unseal(_CURSOR, after)) if after is not None else None
    async with aclosing(tail.follow_operation(context.database, key, place)) as log:
        async for row in log:
            yield Told(_cursor(Place(row.xid, row.seq)), row)
            if payloads.decode(row.data)["status"] in ENDED:
                return


def _cursor(place: Place) -> str:
    return seal(_CURSOR.pack(place.xid, place.seq))
