"""URLs of PostgreSQL databases, as hosts give them."""

import pytest

from db.core.pg_url import InvalidUrlError, parse

PARSED = {
    "postgres://u:p@h/db": "postgresql://u:p@h/db",
    "postgresql+asyncpg://u@127.0.0.1:9/x": "postgresql://u@127.0.0.1:9/x",
    # TLS, in the words of several drivers
    "postgresql://u@h/db?sslmode=verify-full&sslrootcert=/ca.pem": "postgresql://u@h/db?sslrootcert=%2Fca.pem&sslmode=verify-full",
    "postgres://u@h/db?ssl=true": "postgresql://u@h/db?sslmode=require",
    "postgres://u@h/db?ssl=require": "postgresql://u@h/db?sslmode=require",
    "postgres://u@h/db?sslmode=no-verify": "postgresql://u@h/db?sslmode=require",
    "postgres://u@h/db?sslmode=require&channel_binding=require&pgbouncer=true": "postgresql://u@h/db?sslmode=require",
    # several hosts, sockets
    "postgresql://u:p@h1:1,h2:2/db?target_session_attrs=read-write": "postgresql://u:p@h1:1,h2:2/db?target_session_attrs=read-write",
    "postgresql:///db?host=/var/run/postgresql": "postgresql:///db?host=%2Fvar%2Frun%2Fpostgresql",
    "postgresql://u@%2Fvar%2Frun/db": "postgresql://u@%2Fvar%2Frun/db",
    "postgres://u:p@[::1]:5432/db": "postgresql://u:p@[::1]:5432/db",
    # passwords and names with characters of URLs, encoded or not
    "postgres://u:p%40ss%2Fw%3A%25@h/db": "postgresql://u:p%40ss%2Fw%3A%25@h/db",
    "postgres://u:p@ss/w#r?d:x+%@h/db": "postgresql://u:p%40ss%2Fw%23r%3Fd%3Ax%2B%25@h/db",
    "postgres://name@server:pw@h:5432/db": "postgresql://name%40server:pw@h:5432/db",
    "postgresql://h/db?options=a@b": "postgresql://h/db?options=a%40b",
    "postgresql://u:p@h/my%20db": "postgresql://u:p@h/my%20db",
}  # fmt: skip


@pytest.mark.parametrize("url", PARSED)
def test_usual_url_is_understood(url: str) -> None:
    assert parse(url).dsn == PARSED[url]


def test_connect_timeout_of_url_is_used() -> None:
    assert parse("postgres://h/db?connect_timeout=7").connect_timeout == 7.0
    assert parse("postgres://h/db?connect_timeout=0").connect_timeout is None


@pytest.mark.parametrize("url", ["postgres://secret:secret@h:x/db", "postgres://secret:secret@h?sslmode=bad"])
def test_malformed_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidUrlError) as refused:
        parse(url)
    assert "secret" not in str(refused.value)
