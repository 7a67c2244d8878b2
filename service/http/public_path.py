"""The URL by which browsers see the service, and its path when a proxy serves it below one, such as `/flowruns`."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

HEADER = "x-forwarded-prefix"
"""The header in which proxies such as Traefik and Spring Cloud Gateway send the path that they removed."""
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
"""Matches paths that need no escape in HTML and in a Location header, and that name no other host."""


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The URL by which browsers reach the service."""

    setting: str = ""
    """The setting of the operator, without a slash at its end; empty: each request determines the URL."""

    def path(self, request: Request) -> str:
        """Returns the path of the URL, without a slash at its end."""
        return urlsplit(self.setting).path if self.setting else public_path(request)

    def base(self, request: Request) -> str:
        """Returns the URL, without a slash at its end."""
        return self.setting or f"{request.url.scheme}://{request.url.netloc}{public_path(request)}"

    def is_secure(self, request: Request) -> bool:
        """Returns True if browsers use HTTPS, so that cookies must be `Secure`."""
        return request.url.scheme == "https" or self.setting.startswith("https://")

    def without_slash(self, request: Request) -> Response:
        """Redirects to the path without the slashes at its end.

        Starlette would redirect to a URL with the `Host` and the scheme of the request, which a proxy may have changed.
        """
        path = quote(request.path_params["path"].strip("/"))
        query = request.url.query
        return RedirectResponse(f"{self.path(request)}/{path}" + (f"?{query}" if query else ""), status_code=307)


def public_path(request: Request) -> str:
    """Returns the path under which the client sees the service, without a slash at its end; empty if there is none."""
    given: str = request.headers.get(HEADER) or request.scope.get("root_path", "")
    path = given.rstrip("/")
    return path if _PATH.fullmatch(path) else ""
