"""What a database has answered is remembered for a short time."""

from sqlalchemy import Connection

from db.core.database import Database
from db.core.short_memory import ShortMemory


async def test_values_are_forgotten_after_their_time_and_when_there_are_too_many(database: Database) -> None:
    seconds = [0.0]
    memory: ShortMemory[str, int] = ShortMemory(seconds=60, size=2, now=lambda: seconds[0])

    def check(conn: Connection) -> None:
        memory.put(conn.engine.pool, "first", 1)
        seconds[0] = 59.0
        assert memory.find(conn.engine.pool, "first") == 1
        assert memory.find(conn.engine.pool, "other") is None
        memory.put(conn.engine.pool, "second", 2)
        seconds[0] = 60.0
        assert [memory.find(conn.engine.pool, key) for key in ("first", "second")] == [None, 2]
        memory.put(conn.engine.pool, "third", 3)
        assert [memory.find(conn.engine.pool, key) for key in ("second", "third")] == [None, 3]

    await database.read(check)
