"""The page of a failed sign-in: one sentence, and the next step."""

import html

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from domain.errors import FlowRunsError, SignInRefusedError
from service.http.auth import error_response

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "vary": "accept",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign-in failed - Flow Runs</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1rem }}
  a {{ margin-right: 1.5rem }}
</style>
<main>
  <h1>Sign-in failed</h1>
  <p role="alert" data-code="{code}">{message}</p>
  <p><a href="{path}/sign-in/oidc{query}">Try again</a><a href="{path}/">Sign in with an API key</a></p>
</main>
</html>
"""


def error_page(request: Request, error: FlowRunsError, path: str) -> Response:
    """Returns the error as a page for browsers, and in the shape of a GraphQL response for other clients.

    `path` is that of the service.
    """
    if "text/html" not in request.headers.get("accept", ""):
        return error_response(error)
    # The provider remembers the person who signed in, and would send the same person again.
    query = "?prompt=login" if isinstance(error, SignInRefusedError) else ""
    page = _PAGE.format(query=query, code=error.code, message=html.escape(error.message), path=html.escape(path))
    return HTMLResponse(page, status_code=error.http_status, headers=_HEADERS)
