"""Connects to a PostgreSQL server, directly or through a pooler such as PgBouncer.

A pooler in transaction mode gives a connection another session of the server for each transaction. Then nothing lasts
longer than a transaction: no prepared statement, no setting, no LISTEN.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.core import pg_url

CONNECT_TIMEOUT = 15.0
"""Seconds after which a server without a response counts as unavailable, unless the URL has a `connect_timeout`.

A running server responds in milliseconds, and within some seconds when its machine is overloaded (measured: 3 s at four
times as many busy processes as cores). Requests should wait for such a server instead of failing."""
_ROUNDS = 5
"""Rounds in which two connections try to find a session that they share. A pooler in transaction mode returns the
session that was used last, so the first round finds it when it is idle; when it is busy, the sessions change."""
_SESSION_FREE_SECONDS = 2.0
"""Seconds to wait for a second session. A pooler in session mode may have only one."""
_SETUP = ("application_name",)
"""Settings that every pooler accepts at the start of a connection."""


class Pooling(Enum):
    """The kind of pooler between a connection and its session on the server."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


class ConnectionFailedError(OSError):
    """The database cannot be used. The message is a sentence for the operator, without the password."""


class _PooledConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose session may change with each transaction: every statement is in a transaction."""

    local_settings = ""
    """Statements that set the settings of the session for a transaction."""

    async def execute(self, query: str, *args: Any, **kwargs: Any) -> str:
        """Executes a statement. The statement that begins a transaction applies the settings, without a further round
        trip."""
        if query.startswith("BEGIN"):
            query += self.local_settings
        result: str = await super().execute(query, *args, **kwargs)
        return result

    async def fetch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the rows of a statement."""
        if self.is_in_transaction():
            return await super().fetch(*args, **kwargs)
        async with self.transaction():
            return await super().fetch(*args, **kwargs)

    async def prepare(self, query: str, *, name: str | None = None, **kwargs: Any) -> Any:
        """Prepares a statement without a name. The next one replaces it, and it cannot collide with another
        statement."""
        return await super().prepare(query, name="", **kwargs)

    async def set_type_codec(self, *args: Any, **kwargs: Any) -> None:
        """Sets the codec of a type, which asks the server about the type."""
        async with self.transaction():
            await super().set_type_codec(*args, **kwargs)


class PostgresServer:
    """Opens connections to one database of a server."""

    def __init__(self, url: str) -> None:
        """Opens no connection yet.

        Raises:
            InvalidUrlError: `url` is malformed.
        """
        self._url = pg_url.parse(url)
        self._timeout = self._url.connect_timeout or CONNECT_TIMEOUT
        self._finding = asyncio.Lock()
        self.pooling: Pooling | None = None
        """None until `find_pooling` was called."""

    async def connect(self, settings: Mapping[str, str], *, statement_cache_size: int = 100, **options: Any) -> Any:
        """Returns a connection whose statements have these settings of the server; `options` are the driver's.

        Raises:
            ConnectionFailedError: the server cannot be reached, or refuses the connection.
        """
        pooling = await self.find_pooling()
        if pooling is Pooling.NONE:
            return await self._connect(settings, statement_cache_size=statement_cache_size, **options)
        setup = {name: value for name, value in settings.items() if name in _SETUP}
        session = {name: value for name, value in settings.items() if name not in _SETUP}
        if pooling is Pooling.SESSION:
            conn = await self._connect(setup, statement_cache_size=statement_cache_size, **options)
            await conn.execute(_set_all("SET", session) or "SELECT")
            return conn
        conn = await self._connect(setup, statement_cache_size=0, connection_class=_PooledConnection)
        conn.local_settings = _set_all("SET LOCAL", session)
        return conn

    async def find_pooling(self) -> Pooling:
        """Returns the kind of pooler between this process and the server. It is determined once.

        Raises:
            ConnectionFailedError: the server cannot be reached, or refuses the connection.
        """
        if self.pooling is None:
            async with self._finding:
                self.pooling = self.pooling or await self._find_pooling()
        return self.pooling

    async def _find_pooling(self) -> Pooling:
        first = await self._connect({}, statement_cache_size=0, connection_class=_PooledConnection)
        try:
            session = await _session(first)
            # At the start a pooler has no process of the server yet, so it cannot pass on the number of one.
            if session == first.get_server_pid():
                return Pooling.NONE
            second = await self._connect({}, statement_cache_size=0, connection_class=_PooledConnection)
            try:
                return Pooling.TRANSACTION if await _share_a_session(first, second) else Pooling.SESSION
            finally:
                second.terminate()
        except asyncpg.PostgresError as error:
            raise ConnectionFailedError(_sentence(error, self._url.location)) from error
        finally:
            first.terminate()

    async def _connect(self, settings: Mapping[str, str], **options: Any) -> Any:
        try:
            return await asyncpg.connect(
                self._url.dsn, timeout=self._timeout, server_settings=dict(settings) or None, **options
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise ConnectionFailedError(_sentence(error, self._url.location)) from error

    def engine(self, settings: Mapping[str, str], **options: Any) -> AsyncEngine:
        """Returns an engine of SQLAlchemy that gets its connections here; `options` are those of the engine."""

        async def connect(**_: Any) -> Any:
            return await self.connect(settings)

        engine = create_async_engine(
            "postgresql+asyncpg://", connect_args={"async_creator_fn": connect}, json_deserializer=str, **options
        )
        # `find_pooling` was called before a connection is opened. An unnamed statement must not be used again.
        event.listen(engine.sync_engine, "do_connect", self._keep_statements_only_in_sessions)
        return engine

    def _keep_statements_only_in_sessions(
        self, _dialect: object, _record: object, _args: object, parameters: dict[str, Any]
    ) -> None:
        if self.pooling is Pooling.TRANSACTION:
            parameters["prepared_statement_cache_size"] = 0


async def _share_a_session(first: Any, second: Any) -> bool:
    session = await _session(first)
    for _ in range(_ROUNDS):
        try:
            async with asyncio.timeout(_SESSION_FREE_SECONDS):
                other = await _session(second)
        except TimeoutError:
            return False  # The first connection has the only session.
        if other == session or await _session(first) != session:
            return True
    return False


async def _session(conn: Any) -> int:
    async with conn.transaction():
        number: int = await conn.fetchval("SELECT pg_backend_pid()")
    return number


def _set_all(command: str, settings: Mapping[str, str]) -> str:
    return "".join(f";{command} {name} = '{value}'" for name, value in settings.items())


_STATES: Sequence[tuple[type[Exception], str]] = (
    (asyncpg.InvalidCatalogNameError, "Create the database, or correct its name in FLOWRUNS_DATABASE_URL."),
    (asyncpg.InvalidPasswordError, "Correct the password in FLOWRUNS_DATABASE_URL."),
    (asyncpg.InvalidAuthorizationSpecificationError, "Correct the role in FLOWRUNS_DATABASE_URL."),
    (asyncpg.TooManyConnectionsError, "Lower FLOWRUNS_DATABASE_POOL_SIZE, or allow more connections."),
)


def _sentence(error: BaseException, location: str) -> str:
    """Returns the reason for which the connection failed, and advice for the operator, on one line."""
    for kind, advice in _STATES:
        if isinstance(error, kind):
            return f"The database {location} cannot be used: {_text(error)}. {advice}"
    if isinstance(error, TimeoutError):
        return (
            f"The database {location} cannot be reached: there was no response in time. Check host and port in "
            "FLOWRUNS_DATABASE_URL."
        )
    if isinstance(error, socket.gaierror):
        return (
            f"The database {location} cannot be reached: the host name is unknown. Check it in FLOWRUNS_DATABASE_URL."
        )
    if isinstance(error, ssl.SSLError):
        return f"The database {location} cannot be used: TLS failed, {_text(error)}. Check `sslmode` and `sslrootcert`."
    if isinstance(error, OSError):
        return (
            f"The database {location} cannot be reached: {_text(error)}. Check host and port in FLOWRUNS_DATABASE_URL."
        )
    return f"The database {location} cannot be used: {_text(error)}."


def _text(error: BaseException) -> str:
    return re.sub(r"\[Errno -?\d+\] ", "", " ".join(str(error).split())).rstrip(".") or type(error).__name__
