"""Serves the console and GraphiQL from this machine, so that they work without the internet."""

import html
import os
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Scope

from service.http.compression import compression
from service.http.media_types import weights
from service.http.public_path import HEADER, public_path

# The policy is as strict as the page allows: its editor Monaco writes <style> elements and draws error marks with data:
# images.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_CONSOLE_PATHS = (
    "/",
    "/runs/{run_id}",
    "/failures",
    "/compare",
    "/inbox",
    "/operate",
    "/flows",
    "/flows/{flow_id}",
    "/bulk",
    "/bulk/{operation_id}",
)
"""The addresses of the console's pages. All of them are one document."""
_BASE_PATH = 'name="base-path" content=""'
"""The tag of a page from which its scripts read the base path of the service."""
_PROVIDER = 'name="identity-provider" content=""'
"""The tag of a page from which its scripts read the name of the identity provider."""
_PACKED = {"br": ".br", "gzip": ".gz"}
"""Codings of the files that the build compresses as far as they go, best first, and the ends of their names."""
_VARY = {"vary": f"accept, {HEADER}"}
_MISSING = (
    "The console is not built: run scripts/build-web, which needs Node.js or takes it from PyPI.\n"
    "The API is here all the same: POST a query to /graphql.\n"
)


class _Assets(StaticFiles):
    """Files whose names contain a hash of their content, so that browsers may cache them forever.

    The build compressed them: at the level that suits responses made anew each time, they would be a fifth larger.
    """

    async def check_config(self) -> None:
        """Checks nothing: the folder is missing until the page is built, and requests then get 404."""

    def file_response(self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, *_: int) -> Response:
        accepted = weights(",".join(Headers(scope=scope).getlist("accept-encoding")))
        for coding, suffix in _PACKED.items():
            packed = Path(f"{full_path}{suffix}")
            if coding in accepted and packed.is_file():
                response = super().file_response(packed, packed.stat(), scope)
                response.headers.update({"content-encoding": coding, "vary": "accept-encoding"})
                break
        else:
            response = super().file_response(full_path, stat_result, scope)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        response.headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'none'"
        response.headers.update(_HEADERS)
        return response


class Pages:
    """Serves the pages in `folder`, or a message that says how to build them."""

    def __init__(self, folder: Path, *, sign_in_label: str = "") -> None:
        """`sign_in_label` is the name of the identity provider, which the sign-in page offers; empty without one."""
        self._folder = folder
        self._provider = f'name="identity-provider" content="{html.escape(sign_in_label)}"'

    @property
    def are_built(self) -> bool:
        """True if the pages were built."""
        return (self._folder / "index.html").is_file()

    def is_page_request(self, request: Request) -> bool:
        """Returns True if a browser requests the page, not a GraphQL response."""
        wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        return wants_page and "query" not in request.query_params

    def graphiql(self, request: Request) -> Response:
        """Returns GraphiQL. Its scripts request the signed-in viewer."""
        return self._page("graphiql.html", request)

    def routes(self) -> list[BaseRoute]:
        """Returns the routes of the console, and of the scripts and styles of both pages."""
        console = [Route(path, self._console, methods=["GET"]) for path in _CONSOLE_PATHS]
        assets = _Assets(directory=self._folder / "assets", check_dir=False)
        return [*console, Mount("/assets", assets, middleware=[compression()])]

    async def not_found(self, request: Request, _: Exception) -> Response:
        """Responds to an unknown address: a browser gets the console, which says so, other clients get a line."""
        if self.are_built and self.is_page_request(request):
            return self._page("index.html", request, status=404)
        return PlainTextResponse("Not Found", status_code=404)

    async def _console(self, request: Request) -> Response:
        return self._page("index.html", request)

    def _page(self, name: str, request: Request, *, status: int = 200) -> Response:
        if not self.are_built:
            return PlainTextResponse(_MISSING, status_code=404, headers=_HEADERS | _VARY)
        path = public_path(request)
        text = (self._folder / name).read_text()
        # Addresses are absolute, because the console's pages have paths of different depths.
        text = text.replace('"./assets/', f'"{path}/assets/').replace(_BASE_PATH, _BASE_PATH.replace('""', f'"{path}"'))
        text = text.replace(_PROVIDER, self._provider)
        headers = {"cache-control": "no-cache", "content-security-policy": POLICY, **_HEADERS, **_VARY}
        return HTMLResponse(text, status, headers)
