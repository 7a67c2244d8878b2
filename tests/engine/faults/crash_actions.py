"""Actions for workers that are killed or stopped."""

import asyncio
import os
import uuid
from typing import Any

from engine.actions import action
from engine.steps import StepContext


@action
async def stamp(ctx: StepContext) -> dict[str, Any]:
    """What no other call returns."""
    return {"process": os.getpid(), "attempt": ctx.attempt, "token": uuid.uuid4().hex}


@action
async def flaky(ctx: StepContext) -> dict[str, Any]:
    """Fails at its first try."""
    if ctx.attempt == 1:
        raise ValueError("bad luck")
    return await stamp(ctx)


@action
async def hold(ctx: StepContext, gate: int) -> dict[str, Any]:
    """Waits at its first try until the test opens the gate, a port of this machine."""
    if ctx.attempt == 1:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate)
        await reader.read()
        writer.close()
    return await stamp(ctx)
