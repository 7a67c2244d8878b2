"""Translates URLs of PostgreSQL databases, as hosts and other programs write them, into the driver's form.

Supports `postgres://`, several hosts, sockets, `sslmode` as well as `ssl`, the parameters of other drivers, and
passwords with characters that are not percent-encoded.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")

_IGNORED = frozenset(
    {
        # Parameters of libpq, without a counterpart in the driver.
        "channel_binding", "client_encoding", "fallback_application_name", "gssencmode", "hostaddr", "keepalives",
        "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts", "require_auth",
        "sslcompression", "sslsni", "tcp_user_timeout",
        # Parameters of other drivers and of hosts.
        "async_fallback", "connection_limit", "pgbouncer", "pool_timeout", "pool_mode", "prepareThreshold",
        "prepared_statement_cache_size", "schema", "socket_timeout", "sslaccept", "statement_cache_size", "supa",
        "uselibpqcompat",
    }
)  # fmt: skip
"""Parameters of other programs. The driver would send them to the server as settings of the session."""
_SSL_MODES = {"true": "require", "1": "require", "false": "disable", "0": "disable", "no-verify": "require"}
"""Values that Node's drivers use, and the equivalent of libpq."""
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST = re.compile(r"(\[[^\]]*\]|[^:,\[\]]*)(:\d*)?")
_IN_QUERY = re.compile(r"\?(\w+=[^?&]*&)*\w+=[^?&]*$")
"""Matches the text before an @ that belongs to a parameter, and not to a user, a password or the text after them."""


class InvalidUrlError(ValueError):
    """The URL is malformed; the message is a sentence for the operator, without the password."""


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """The location of a database."""

    dsn: str
    """The URL in the driver's form."""
    location: str
    """Hosts and database, for messages: without role and password."""
    connect_timeout: float | None = None
    """Largest number of seconds for connecting, from the URL; None if it has none."""


def is_postgresql(url: str) -> bool:
    """Returns True if `url` has a scheme of PostgreSQL."""
    return url.partition("://")[0].lower() in SCHEMES


def parse(url: str) -> PostgresUrl:
    """Returns the parts of the URL of a PostgreSQL database.

    Raises:
        InvalidUrlError: the URL is malformed.
    """
    user, hosts, database, query = _split(url.partition("://")[2])
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise InvalidUrlError("the hosts must be `host:port`, separated by commas; write characters such as @ in a "
            "password as %40")  # fmt: skip
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    mode = parameters.pop("ssl", None)
    mode = parameters.pop("sslmode", mode)
    if mode:
        mode = _SSL_MODES.get(mode.lower(), mode)
        if mode not in _MODES:
            raise InvalidUrlError(f"`sslmode` must be one of {', '.join(_MODES)}, got {mode!r}")
        parameters["sslmode"] = mode
    seconds = parameters.pop("connect_timeout", "")
    kept = {name: value for name, value in parameters.items() if name not in _IGNORED and value}
    encoded = "".join((
        "postgresql://",
        f"{':'.join(quote(unquote(part), safe='') for part in user.split(':', 1))}@" if user else "",
        hosts,
        f"/{quote(unquote(database), safe='')}" if database else "",
        f"?{urlencode(kept)}" if kept else "",
    ))  # fmt: skip
    location = f"{unquote(hosts) or kept.get('host', 'the default host')}/{unquote(database)}"
    return PostgresUrl(encoded, location, float(seconds) if seconds.isdigit() and int(seconds) else None)


def _split(rest: str) -> tuple[str, str, str, str]:
    """Returns user and password, hosts, database and query. A password may contain any character of a URL unencoded."""
    ends = [at.start() for at in re.finditer("@", rest) if not _IN_QUERY.search(rest[: at.start()])]
    user, where = (rest[: ends[-1]], rest[ends[-1] + 1 :]) if ends else ("", rest)
    where, _, query = where.partition("?")
    hosts, _, database = where.partition("/")
    return user, hosts, database, query
