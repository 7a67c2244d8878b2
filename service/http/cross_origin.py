"""Lets pages of other origins call the service: over HTTP by CORS, and by WebSockets, to which CORS does not apply."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from strawberry.http.websocket_origin import is_same_origin

from service.http.request_ids import HEADER as REQUEST_ID_HEADER

_EXPOSED = (REQUEST_ID_HEADER, "etag", "retry-after", "content-disposition", "content-range", "accept-ranges")
"""Response headers that scripts of other origins may read, in addition to those that every script may read."""
_MAX_AGE_SECONDS = 7_200
"""Seconds for which browsers remember a preflight: the longest time that Chromium accepts."""


@dataclass(frozen=True, slots=True)
class OtherOrigins:
    """The origins whose pages may call the service, in addition to its own."""

    allowed: Sequence[str] = ()
    """The origins; `*` stands for every origin."""
    credentials: bool = False
    """True if these pages may use the cookie of a signed-in browser. It is `SameSite=Strict`, so browsers send it only
    from origins of the same site, such as other ports and subdomains."""

    def middleware(self) -> Sequence[Middleware]:
        """Returns the middleware for HTTP; none if no origin is allowed.

        All request headers are allowed: the origin is trusted, and tools add headers of their own.
        """
        if not self.allowed:
            return ()
        return (
            Middleware(
                CORSMiddleware,
                allow_origins=self.allowed,
                allow_methods=("GET", "HEAD", "POST"),
                allow_headers=("*",),
                allow_credentials=self.credentials,
                expose_headers=_EXPOSED,
                max_age=_MAX_AGE_SECONDS,
            ),
        )

    def may_show_cookie(self, handshake: HTTPConnection) -> bool:
        """Returns True if the service may use the cookie of a socket's handshake. The browser sends it for every
        page."""
        origin = handshake.headers.get("origin")
        return (
            self.credentials
            or origin is None
            or handshake.headers.get("sec-fetch-site") == "same-origin"
            or is_same_origin(origin, handshake.headers.get("host"))
        )
