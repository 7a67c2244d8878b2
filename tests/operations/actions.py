"""Actions of the services in these tests."""

import asyncio

from engine.actions import action

_released = asyncio.Event()


def hold_steps() -> None:
    """Makes the steps that call `operations.hold` from now on wait until `release_steps`."""
    global _released
    # A new event, because each test has a loop of its own.
    _released = asyncio.Event()


def release_steps() -> None:
    """Ends all waits of `operations.hold`."""
    _released.set()


@action("operations.hold")
async def hold() -> str:
    """Waits until the test releases it."""
    await _released.wait()
    return "released"
