"""Lets clients keep responses to GET, and check whether they have changed."""

import hashlib

from starlette.requests import Request
from starlette.responses import Response

_DIGEST_BYTES = 16


def revalidated(request: Request, response: Response) -> Response:
    """Returns the response with its entity tag, or 304 without a body if the client has the same response already.

    The tag is weak, because a body may be compressed in several ways. A response belongs to its key, so only the client
    may keep it. The client must check each time, because the content can change at any moment.
    """
    if request.method != "GET" or response.status_code != 200:
        return response
    tag = f'W/"{hashlib.blake2b(bytes(response.body), digest_size=_DIGEST_BYTES).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "private, no-cache", "vary": "authorization, cookie, accept"}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if "*" in known or tag.removeprefix("W/") in known:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
