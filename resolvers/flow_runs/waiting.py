"""Waits for a run or another row to reach a state."""

from collections.abc import Awaitable, Callable, Collection, Hashable
from datetime import timedelta
from uuid import UUID

from db import api_keys
from db.core import pubsub
from db.runs import reads
from domain.enums import RunStatus
from domain.errors import InvalidArgumentError, UnauthenticatedError
from domain.time import clock
from resolvers.context import Context

MAX_WAIT_MS = 60_000
"""Longest wait of a request, in milliseconds: proxies close connections that are idle for longer."""
POLL_SECONDS = 0.75
"""Seconds between two reads of a row that another process may change: its wake-up can get lost. Below a second, because
a wait ends within a second of its key."""


def check_wait(milliseconds: int | None) -> None:
    """Checks the argument `waitMs`.

    Raises:
        InvalidArgumentError: the time is negative or longer than a request can wait.
    """
    if milliseconds is not None and not 0 <= milliseconds <= MAX_WAIT_MS:
        raise InvalidArgumentError(f"`waitMs` must be between 0 and {MAX_WAIT_MS}, got {milliseconds}.")


async def wait_for_status(
    context: Context,
    run_id: UUID,
    statuses: Collection[RunStatus],
    milliseconds: int,
    check: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Returns when the run has one of `statuses`, or after `milliseconds`.

    Args:
        check: Raises when what the request showed has ended; by default that is a key.

    Raises:
        UnauthenticatedError: the key of the request has ended meanwhile.
    """

    async def has_status() -> bool:
        row = (await context.database.read(reads.by_ids, [run_id], frozenset({"status"}))).get(run_id)
        return row is None or row.status in statuses

    await wait_until(context, pubsub.run_changed(run_id), milliseconds, has_status, check)


async def wait_until(
    context: Context,
    topic: Hashable,
    milliseconds: int,
    is_reached: Callable[[], Awaitable[bool]],
    check: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Returns when `is_reached` is true, or after `milliseconds`.

    It is called at once, whenever `topic` is published, and every `POLL_SECONDS`. The wait also ends when the server
    stops, so that the request gets its answer instead of an error. A clock that is set back to a time
    before the beginning ends the wait, which would otherwise last until the clock is where it was.

    Raises:
        UnauthenticatedError: the key of the request has ended meanwhile.
    """
    seconds = milliseconds / 1000
    deadline = clock.now() + timedelta(milliseconds=milliseconds)
    with context.database.pubsub.subscribe(topic) as changed:
        while 0 < (left := (deadline - clock.now()).total_seconds()) <= seconds and not context.is_stopping():
            changed.clear()
            if await is_reached():
                return
            await clock.wait_for(changed, min(left, POLL_SECONDS))
            await (_check_key(context) if check is None else check())


async def _check_key(context: Context) -> None:
    """Checks that the key of a request is still active, so that what it waits for may be read.

    Raises:
        UnauthenticatedError
    """
    # Access tokens can call nothing that waits.
    if await context.database.read(api_keys.active, context.viewer.key_id) is None:
        raise UnauthenticatedError("The API key is no longer active.")
