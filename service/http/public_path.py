"""The path under which clients see the service when a proxy serves it there, such as `/flowruns`."""

import re

from starlette.requests import Request

HEADER = "x-forwarded-prefix"
"""The header in which proxies such as Traefik and Spring Cloud Gateway send the path that they removed."""
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
"""Matches paths that need no escape in HTML and in a Location header, and that name no other host."""


def public_path(request: Request) -> str:
    """Returns the path under which the client sees the service, without a slash at its end; empty if there is none."""
    given: str = request.headers.get(HEADER) or request.scope.get("root_path", "")
    path = given.rstrip("/")
    return path if _PATH.fullmatch(path) else ""
