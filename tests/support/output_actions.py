"""Actions that log and store files, for services in tests."""

from typing import Any

from engine.actions import action
from engine.steps import StepContext, ThreadContext


@action("notes.log")
async def log(ctx: StepContext, messages: list[list[str]]) -> None:
    """Logs messages; each is a level and a text."""
    for level, message in messages:
        ctx.log(message, level)


@action("notes.count")
def count(ctx: ThreadContext, to: int) -> None:
    """Logs the numbers from 1 to `to`."""
    for number in range(1, to + 1):
        ctx.log(f"line {number}")


@action("notes.store")
def store(ctx: ThreadContext, name: str, text: str, media_type: str | None = None, times: int = 1) -> Any:
    """Stores a file with `text`, which is repeated."""
    return ctx.store_file(name, text.encode() * times, media_type)
