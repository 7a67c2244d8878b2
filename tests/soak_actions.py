"""What the flows of the soak do."""

import asyncio
import random
import time

from engine.actions import action
from engine.steps import ThreadContext


@action("soak.work")
async def work(ms: int = 5, failing: float = 0.0) -> None:
    """Takes so many milliseconds and fails with this probability."""
    await asyncio.sleep(ms / 1000)
    if random.random() < failing:
        raise ValueError("bad luck")


@action("soak.block")
def block(ctx: ThreadContext, ms: int = 5) -> None:
    """Blocks its thread, and says so."""
    time.sleep(ms / 1000)
    ctx.log(f"slept {ms} ms")
