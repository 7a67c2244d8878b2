"""Asks a database directly, past the code under test."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine


async def query(url: str, *statements: str) -> Any:
    """Run the statements in one transaction; the first value of the last one's answer, if it has an answer."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            results = [await connection.execute(text(statement)) for statement in statements]
            return results[-1].scalar() if results[-1].returns_rows else None
    finally:
        await engine.dispose()
