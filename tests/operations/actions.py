"""Actions of the services in these tests."""

import asyncio

from engine.actions import action

released = asyncio.Event()
"""Ends `operations.hold`."""


@action("operations.hold")
async def hold() -> str:
    """Waits until the test releases it."""
    await released.wait()
    return "went on"
