"""Authenticates requests by a bearer key or the cookie of a signed-in browser."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import orjson
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from db import api_keys
from db.core.database import Database
from domain.actor import Origin
from domain.enums import Role
from domain.errors import BadRequestError, FlowRunsError, RateLimitedError, UnauthenticatedError
from domain.http.body_text import media_type
from domain.log_context import current_request_id
from domain.time import clock
from resolvers.context import Viewer
from schema.errors import extensions
from service.http.public_path import PublicUrl
from service.http.viewers import Viewers

COOKIE = "flow_runs_session"
SESSION_NAME = "browser session"
SESSION_LIFETIME = timedelta(days=30)
TOKEN_LIFETIME = timedelta(hours=1)
"""Time in which the link of a start signs in. It stands in the log, which more people may read than use the service."""

ANONYMOUS = Viewer(UUID(int=0), UUID(int=0), Role.VIEWER, "nobody")
"""The viewer of a socket before it has shown a key. It can see nothing, and its connection is rejected."""


async def authenticate(connection: HTTPConnection, viewers: Viewers) -> Viewer:
    """Returns the viewer whose key the request shows.

    Raises:
        UnauthenticatedError: the request shows no valid key.
    """
    viewer = await viewers.find(shown_secret(connection))
    if viewer is None:
        raise UnauthenticatedError
    return viewer


def shown_secret(connection: HTTPConnection) -> str | None:
    """Returns the secret that the request shows: the bearer token, otherwise the cookie."""
    authorization = connection.headers.get("authorization")
    return connection.cookies.get(COOKIE) if authorization is None else _bearer(authorization)


def shows_secret(params: Mapping[object, object]) -> bool:
    """Returns True if the payload of a `connection_init` has an `Authorization`, valid or not."""
    return any(str(name).lower() == "authorization" for name in params)


def secret_of_params(params: Mapping[object, object]) -> str | None:
    """Returns the secret in the payload of a `connection_init`: `{"Authorization": "Bearer …"}`."""
    shown = next((value for name, value in params.items() if str(name).lower() == "authorization"), None)
    return _bearer(shown) if isinstance(shown, str) else None


def _bearer(authorization: str) -> str | None:
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def error_response(error: FlowRunsError, status: int | None = None) -> Response:
    """Returns `error` in the shape of a GraphQL response; `status` replaces the HTTP status of the error's class."""
    body = {"errors": [{"message": error.message, "extensions": extensions(error)}]}
    headers = None
    if isinstance(error, UnauthenticatedError):
        headers = {"www-authenticate": "Bearer"}
    elif isinstance(error, RateLimitedError):
        headers = {"retry-after": str(error.retry_after)}
    return JSONResponse(body, status_code=status or error.http_status, headers=headers)


class ProviderSessions(Protocol):
    """The sessions of people with their identity provider."""

    async def end_session_url(self, request: Request) -> str | None:
        """Returns the URL at which the browser ends its session with the provider; None if there is none."""

    def forget(self, request: Request, response: Response) -> None:
        """Deletes the cookies of the browser for that."""


class BrowserSessions:
    """Signs browsers in with a key or a single-use token, and signs them out."""

    def __init__(
        self,
        database: Database,
        viewers: Viewers,
        project_id: UUID,
        *,
        public_url: PublicUrl,
        provider_sessions: ProviderSessions | None = None,
    ) -> None:
        self._public_url = public_url
        self._provider_sessions = provider_sessions
        self._database = database
        self._viewers = viewers
        self._project_id = project_id
        self._tokens: dict[str, datetime] = {}

    def issue_token(self) -> str:
        """Returns a token for one sign-in as ADMIN of the default project within `TOKEN_LIFETIME`."""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = clock.now()
        return token

    async def sign_in_by_token(self, request: Request) -> Response:
        """Responds to `GET /sign-in?token=…`: redirects to the console, and signs in if the token is valid."""
        response = RedirectResponse(f"{self._public_url.path(request)}/", status_code=303)
        issued_at = self._tokens.pop(request.query_params.get("token", ""), None)
        if issued_at is not None and timedelta(0) <= clock.now() - issued_at < TOKEN_LIFETIME:
            secret = await self._new_session()
            set_session_cookie(response, secret, SESSION_LIFETIME, secure=self._public_url.is_secure(request))
        return response

    async def _new_session(self) -> str:
        return await self._database.write(
            lambda uow: api_keys.create(
                uow, project_id=self._project_id, role=Role.ADMIN, name=SESSION_NAME, lifetime=SESSION_LIFETIME
            )
        )

    async def sign_in_by_key(self, request: Request) -> Response:
        """Responds to `POST /sign-in` with `{"key": …}`: sets a cookie with the key, which scripts cannot read.

        Forms cannot send JSON, so a page of another site cannot sign a browser in with a key of its own.
        """
        if media_type(request.headers.get("content-type", "")) != "application/json":
            return error_response(BadRequestError("The content type must be application/json."), 415)
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            body = None
        secret = body.get("key") if isinstance(body, dict) else None
        if not isinstance(secret, str) or await self._viewers.find(secret) is None:
            return error_response(UnauthenticatedError("The API key is not valid."))
        response = Response(status_code=204)
        set_session_cookie(response, secret, SESSION_LIFETIME, secure=self._public_url.is_secure(request))
        return response

    async def sign_out(self, request: Request) -> Response:
        """Responds to `POST /sign-out`: deletes the cookie, and revokes the session of a token or a person.

        The body of the response to a person is `{"location": …}`, the URL at which the provider ends its session.
        """
        viewer = await self._viewers.find(request.cookies.get(COOKIE))
        response = Response(status_code=204)
        if viewer is not None and viewer.user_id is not None and viewer.token_id is None:
            await self._database.write(api_keys.end_session, viewer.key_id, Origin(viewer.actor, current_request_id()))
            if self._provider_sessions is not None:
                location = await self._provider_sessions.end_session_url(request)
                response = response if location is None else JSONResponse({"location": location})
                self._provider_sessions.forget(request, response)
        elif viewer is not None and viewer.name == SESSION_NAME and viewer.token_id is None:
            await self._database.write(api_keys.revoke, viewer.key_id, Origin(viewer.actor))
        if COOKIE in request.cookies:
            # Browsers do not send it for pages of other sites, so these cannot sign a browser out.
            response.delete_cookie(COOKIE)
        return response


def set_session_cookie(response: Response, secret: str, lifetime: timedelta, *, secure: bool) -> None:
    """Sets the cookie of a signed-in browser. Scripts cannot read it, and pages of other sites do not send it."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(lifetime.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=secure,
    )
