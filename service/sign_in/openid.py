"""Sign-in of people through the OpenID provider: the pages at which the browser leaves and returns."""

import hmac
import logging
import re
from dataclasses import astuple
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from db import api_keys, projects
from db.core.database import Database
from db.core.unit_of_work import UnitOfWork
from domain.errors import FlowRunsError, IdentityProviderUnavailableError, SignInExpiredError, SignInRefusedError
from domain.flows.names import MAX_NAME_LENGTH
from domain.log_context import current_request_id
from service.http.auth import COOKIE, set_session_cookie
from service.http.public_path import PublicUrl
from service.http.viewers import Viewers
from service.sign_in import grants
from service.sign_in.config import OpenIdConfig
from service.sign_in.error_page import error_page
from service.sign_in.identity import Identity
from service.sign_in.provider import OpenIdProvider, SignInAttempt

_logger = logging.getLogger(__name__)

PATH = "/sign-in/oidc"
CALLBACK_PATH = "/sign-in/oidc/callback"
ATTEMPT_COOKIE = "flow_runs_sign_in"
"""Cookie of an unfinished sign-in. Scripts cannot read it."""
ID_TOKEN_COOKIE = "flow_runs_id_token"  # noqa: S105 - a name
"""Cookie with the ID token, by which the provider ends its session. Browsers send it to `/sign-out` only."""
ATTEMPT_SECONDS = 600
"""Seconds that a person has to sign in at the provider."""
MAX_COOKIE_BYTES = 3_800
"""Bytes that fit into a cookie, of which browsers take 4,096 with its name and attributes. Longer ID tokens are not
kept."""
_LOCAL_PATH = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?#-]{0,2000}")
"""Paths to which a sign-in may return. They cannot name another host: they begin with a single slash, and contain no
backslash, which browsers treat as one."""


class OpenIdSignIn:
    """Signs people in through the OpenID provider. Their sessions are keys that expire, in a cookie."""

    def __init__(
        self,
        config: OpenIdConfig,
        provider: OpenIdProvider,
        database: Database,
        viewers: Viewers,
        public_url: PublicUrl,
    ) -> None:
        self._config = config
        self._public_url = public_url
        self._provider = provider
        self._database = database
        self._viewers = viewers

    def routes(self) -> list[BaseRoute]:
        """Returns the routes of the sign-in."""
        return [
            Route(PATH, self.begin, methods=["GET"]),
            Route(CALLBACK_PATH, self.finish, methods=["GET"]),
        ]

    async def report_provider(self) -> None:
        """Reads the metadata of the provider, and logs a failure. The service also starts without it."""
        try:
            await self._provider.check()
        except FlowRunsError as error:
            _logger.warning("sign-in does not work yet", extra={"issuer": self._config.issuer, "reason": error.message})

    async def begin(self, request: Request) -> Response:
        """Responds to `GET /sign-in/oidc?returnTo=…&project=…`: redirects to the provider."""
        attempt = SignInAttempt.new()
        prompt = "login" if request.query_params.get("prompt") == "login" else None
        try:
            url = await self._provider.authorization_url(attempt, self._redirect_uri(request), prompt)
            replaced = await self._viewers.find(request.cookies.get(COOKIE))
        except FlowRunsError as error:
            return error_page(request, error, self._public_url.path(request))
        response = RedirectResponse(url, status_code=303, headers={"cache-control": "no-store"})
        return_to = _local_path(request.query_params.get("returnTo", "/"))
        project = request.query_params.get("project", "")[:MAX_NAME_LENGTH]
        replaced_id = str(replaced.key_id) if replaced is not None and replaced.user_id is not None else ""
        response.set_cookie(
            ATTEMPT_COOKIE,
            _format_attempt(attempt, return_to, project, replaced_id),
            max_age=ATTEMPT_SECONDS,
            path=f"{self._public_url.path(request)}{PATH}",
            httponly=True,
            samesite="lax",  # the browser returns from another site
            secure=self._public_url.is_secure(request),
        )
        return response

    async def finish(self, request: Request) -> Response:
        """Responds to `GET /sign-in/oidc/callback?code=…&state=…`: signs in, and redirects to the page before."""
        try:
            response = await self._finished(request)
        except FlowRunsError as error:
            response = error_page(request, error, self._public_url.path(request))
        response.headers["cache-control"] = "no-store"
        response.headers["referrer-policy"] = "no-referrer"
        response.delete_cookie(ATTEMPT_COOKIE, path=f"{self._public_url.path(request)}{PATH}")
        return response

    async def _finished(self, request: Request) -> Response:
        params = request.query_params
        attempt, return_to, project, replaced = _parse_attempt(request)
        if not hmac.compare_digest(attempt.state.encode(), params.get("state", "").encode()):
            raise SignInExpiredError
        await self._provider.check_sender(params.get("iss"))
        if "code" not in params:
            raise _refusal(params.get("error", ""), params.get("error_description", ""))
        signed_in = await self._provider.finish(attempt, params["code"], self._redirect_uri(request))
        secret = await self._database.write(
            self._new_session, signed_in.identity, project, replaced, current_request_id()
        )
        response = RedirectResponse(f"{self._public_url.path(request)}{return_to}", status_code=303)
        lifetime, is_secure = self._config.session_lifetime, self._public_url.is_secure(request)
        set_session_cookie(response, secret, lifetime, secure=is_secure)
        if len(signed_in.id_token) <= MAX_COOKIE_BYTES:
            response.set_cookie(
                ID_TOKEN_COOKIE,
                signed_in.id_token,
                max_age=int(lifetime.total_seconds()),
                path=self._sign_out_path(request),
                httponly=True,
                samesite="strict",
                secure=is_secure,
            )
        return response

    def _new_session(
        self, uow: UnitOfWork, identity: Identity, project: str, replaced: UUID | None, request_id: str | None
    ) -> str:
        found = grants.granted(self._config.group_grants, identity.groups)
        named = {
            grant.project: projects.by_name(uow.conn, grant.project) for grant in found if grant.project is not None
        }
        usable = [grant for grant in found if grant.project is None or named[grant.project] is not None]
        if not usable:
            if named:
                _logger.warning("groups are granted projects that do not exist", extra={"projects": ", ".join(named)})
            raise SignInRefusedError(
                f"You are signed in as {identity.actor.name}, but none of your groups has access. Ask an"
                " administrator, or sign in as another person."
            )
        chosen = next((grant for grant in usable if grant.project == project), usable[0])
        return api_keys.create_session(
            uow,
            identity.actor,
            project_id=named.get(chosen.project) if chosen.project is not None else None,
            role=chosen.role,
            granted_project_ids=[key for key in named.values() if key is not None],
            lifetime=self._config.session_lifetime,
            replaces_id=replaced,
            request_id=request_id,
        )

    async def end_session_url(self, request: Request) -> str | None:
        """Returns the URL at which the browser ends its session with the provider, and which leads back to the console;
        None if the provider has no such page, or is unavailable."""
        id_token = request.cookies.get(ID_TOKEN_COOKIE)
        return await self._provider.end_session_url(id_token, f"{self._public_url.base(request)}/")

    def forget(self, request: Request, response: Response) -> None:
        """Deletes the cookie with the ID token."""
        response.delete_cookie(ID_TOKEN_COOKIE, path=self._sign_out_path(request))

    def _redirect_uri(self, request: Request) -> str:
        return f"{self._public_url.base(request)}{CALLBACK_PATH}"

    def _sign_out_path(self, request: Request) -> str:
        return f"{self._public_url.path(request)}/sign-out"


def _local_path(text: str) -> str:
    """Returns a path to which the browser may return; the console's for every other text."""
    return text if _LOCAL_PATH.fullmatch(text) else "/"


def _format_attempt(attempt: SignInAttempt, return_to: str, project: str, replaced_id: str) -> str:
    """Returns the value of the attempt's cookie. What does not fit into it is left out of the path to return to."""
    path = urlsplit(return_to).path
    texts = (
        quote(orjson.dumps([*astuple(attempt), shorter, project, replaced_id]).decode(), safe="")
        for shorter in (return_to, path, "/")
    )
    return next(text for text in texts if len(text) <= MAX_COOKIE_BYTES)


def _parse_attempt(request: Request) -> tuple[SignInAttempt, str, str, UUID | None]:
    """Returns the content of the attempt's cookie: the attempt, the path to return to, the requested project, and the
    session that this one replaces.

    Raises:
        SignInExpiredError: this browser has no unfinished sign-in.
    """
    try:
        values: Any = orjson.loads(unquote(request.cookies.get(ATTEMPT_COOKIE, "")))
        state, nonce, verifier, return_to, project, replaced = values
        # Another host of the same site may have set the cookie.
        texts = [
            each for each in (state, nonce, verifier, return_to, project) if isinstance(each, str) and "\0" not in each
        ]
        state, nonce, verifier, return_to, project = texts
        if not (state and nonce and verifier):
            raise SignInExpiredError
        return (
            SignInAttempt(state, nonce, verifier),
            _local_path(return_to),
            project,
            UUID(replaced) if replaced else None,
        )
    except (ValueError, TypeError, AttributeError):
        raise SignInExpiredError from None


def _refusal(error: str, description: str) -> FlowRunsError:
    """Returns the error of a browser that returned without a code."""
    if error == "temporarily_unavailable":
        return IdentityProviderUnavailableError()
    words = " ".join(_printable(text) for text in (error, description) if text) or "it sent no reason"
    return SignInRefusedError(f"The identity provider did not sign you in: {words}.")


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:200].strip().rstrip(".")
