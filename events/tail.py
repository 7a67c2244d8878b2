"""Follows the event log.

A reader goes from a place in the log to its end, and then waits for more. On PostgreSQL a row takes its number before
its transaction commits, so a lower number can appear after a higher one: rows are ordered by transaction, and only
those below the oldest transaction still under way are read, which are complete for ever (db/events.py). Signals are
hints; the reader also looks every second.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from uuid import UUID

from db import bulk_reads, events, signals
from db.events import Place
from db.rows import AnyRow
from db.session import Database
from domain import clock

PAGE = 200
"""Events read at once: a subscriber that is slow holds no more of them in memory."""
LOOK_SECONDS = 1.0
"""At the longest, between two looks at the log: other processes send no signals."""


@dataclass(frozen=True, slots=True)
class Caught:
    """All events up to here were read; what follows happens from now on."""

    place: Place


async def follow(
    database: Database, project_ids: Sequence[UUID] | None, after: Place | None
) -> AsyncGenerator[Sequence[AnyRow] | Caught, None]:
    """Pages of events of the projects (None: of all) that come after a place (None: from now on), in order.

    Tells once when the reader has caught up.
    """
    with database.signals.listen(signals.EVENTS) as written:
        place = after if after is not None else await database.read(events.end)
        caught_up = False
        while True:
            written.clear()
            rows = await database.read(events.page_after, place, project_ids, PAGE)
            if rows:
                place = events.place_of(rows[-1])
                yield rows
            elif caught_up:
                await clock.signalled(written, LOOK_SECONDS)
            else:
                caught_up = True
                yield Caught(place)


async def follow_operation(database: Database, operation_id: UUID, after: Place | None) -> AsyncGenerator[AnyRow, None]:
    """The events of a bulk operation that come after a place, in order; without one, from the latest on.

    Ends with the operation; at once, when the place is that of its end.
    """
    with database.signals.listen(signals.operation_changed(operation_id)) as changed:
        place = after
        while True:
            changed.clear()
            ended = await database.read(bulk_reads.has_ended_by, operation_id, place)
            rows = await database.read(events.progress_after, operation_id, place, PAGE)
            for row in rows:
                place = events.place_of(row)
                yield row
            if ended:
                return
            if not rows:
                await clock.signalled(changed, LOOK_SECONDS)
