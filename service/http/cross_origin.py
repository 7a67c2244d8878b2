"""Lets pages of other origins call the service (CORS)."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service.http.request_ids import HEADER as REQUEST_ID_HEADER

_EXPOSED = (REQUEST_ID_HEADER, "etag", "retry-after", "content-disposition")
"""Response headers that scripts of other origins may read, beside those that every script may."""
_MAX_AGE_SECONDS = 7_200
"""Seconds for which browsers remember a preflight. Chromium takes no more."""


def cross_origin(origins: Sequence[str], *, credentials: bool) -> Sequence[Middleware]:
    """Returns the middleware for pages of `origins`; none if there are none. `*` stands for every origin.

    With `credentials` the cookie of a signed-in browser counts there too. It is `SameSite=Strict`, so it comes only
    from origins of the same site, such as other ports and subdomains. All request headers are allowed: it is the
    origin that is trusted, and tools add headers of their own.
    """
    if not origins:
        return ()
    return (
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            allow_credentials=credentials,
            expose_headers=_EXPOSED,
            max_age=_MAX_AGE_SECONDS,
        ),
    )
