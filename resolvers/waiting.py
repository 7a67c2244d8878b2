"""Waiting for a row to reach a state."""

from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta

from domain import clock
from resolvers.context import Context

POLL_SECONDS = 1.0
"""Seconds between two looks at a row that another process may change, whose wake-up can get lost."""


async def wait_until(
    context: Context, topic: Hashable, milliseconds: int, is_reached: Callable[[], Awaitable[bool]]
) -> None:
    """Returns when `is_reached` is true, or after `milliseconds`.

    It is called at once, whenever `topic` is published, and every `POLL_SECONDS`.
    """
    deadline = clock.now() + timedelta(milliseconds=milliseconds)
    with context.database.signals.listen(topic) as changed:
        while (left := (deadline - clock.now()).total_seconds()) > 0:
            changed.clear()
            if await is_reached():
                return
            await clock.wait_for(changed, min(left, POLL_SECONDS))
