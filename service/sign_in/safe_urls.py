"""Which URLs of an identity provider are used."""

from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_safe_url(url: str) -> bool:
    """Returns True for HTTPS, and for plain HTTP to this machine, where nobody else reads it."""
    try:
        parts = urlsplit(url)
        host, scheme = parts.hostname, parts.scheme
    except ValueError:
        return False
    return bool(host) and (scheme == "https" or (scheme == "http" and host in _LOOPBACK))
