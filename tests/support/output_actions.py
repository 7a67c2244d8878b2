"""Actions that log and store files, for services in tests."""

from typing import Any

from engine.actions import action
from engine.steps import StepContext, ThreadContext


@action("notes.log")
async def log(ctx: StepContext, lines: list[list[str]]) -> None:
    """Log these lines, each a level and a message."""
    for level, message in lines:
        ctx.log(message, level)


@action("notes.count")
def count(ctx: ThreadContext, to: int) -> None:
    """Log the numbers from 1."""
    for number in range(1, to + 1):
        ctx.log(f"line {number}")


@action("notes.store")
def store(ctx: ThreadContext, name: str, text: str, media_type: str | None = None) -> Any:
    """Store a file."""
    return ctx.store_file(name, text.encode(), media_type)
