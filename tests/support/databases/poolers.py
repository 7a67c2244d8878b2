"""Asks only once whether a pooler is between this process and the server of the run.

Each test opens a database of its own, and each would ask again, on a connection that is made for that.
"""

from db.core.postgres import Pooling, PostgresServer

_find_pooling = PostgresServer._find_pooling


def expect_no_pooler(server: str) -> None:
    """Takes every database as directly connected whose URL, in the form of the driver, begins with `server`."""

    async def find(self: PostgresServer) -> Pooling:
        return Pooling.NONE if self._url.dsn.startswith(server) else await _find_pooling(self)

    PostgresServer._find_pooling = find  # type: ignore[method-assign]
