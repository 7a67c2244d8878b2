"""HTTP calls: requests to anywhere on the public internet, with answers of bounded size."""

import re
from collections.abc import Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx
from pydantic import ValidationError

from domain import clock, json_codec
from domain.definition import HttpInput
from domain.errors import FlowRunsError
from domain.json_schema import path_text
from engine.errors import StepError
from engine.steps import body
from engine.steps.context import StepContext

MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
ERROR_BODY_BYTES = 2 * json_codec.KIB
"""How much of the body of a failed call is kept."""
USER_AGENT = "flow-runs"

_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_OUR_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"})
"""They say how the message is framed on the wire."""
_HEADERS_FOR_STRANGERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "user-agent",
    }
)
"""What goes along when a server redirects to another one: any other header may hold a secret meant for the first."""


class HttpRunner:
    """Runs the steps of kind `http`. The output is `{status, headers, body}`, or with a `file` instead of a body."""

    def __init__(self, transport: httpx.AsyncBaseTransport, *, max_response_bytes: int, timeout: float) -> None:
        """`timeout`, in seconds, is for a whole call where the step has none of its own."""
        self._max_response_bytes = max_response_bytes
        self._timeout = timeout
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            timeout=None,  # noqa: S113 - the call as a whole has one
            # One client serves all flows: what a server gives to one must not be sent by another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def run(self, input: Any, context: StepContext) -> Any:  # noqa: A002 - the word of the flow language
        """The response of the call that `input`, a rendered `HttpInput`, describes.

        Raises:
            StepError: INPUT_INVALID, ADDRESS_REFUSED, HTTP_FAILED, HTTP_STATUS, RESPONSE_TOO_LARGE or TIMEOUT; with
                `saveAs` also those of `StepContext.store_file`.
        """
        seconds = self._timeout if context.timeout is None else context.timeout
        wanted = _validated(input)
        request = self._request(wanted, context, seconds)
        try:
            return await clock.timeout(seconds, self._call(wanted, request, context))
        except TimeoutError:
            raise StepError("TIMEOUT", f"{request.url.host} did not answer within {seconds:g} s.") from None
        except httpcore.TimeoutException as error:
            raise StepError("TIMEOUT", f"There was no connection to {request.url.host} in time. {error}") from None
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpcore.LocalProtocolError) as error:
            raise _invalid(f"The request cannot be sent: {error}") from None
        except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise StepError("HTTP_FAILED", f"The call of {request.url.host} failed: {_words(error)}") from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _request(self, wanted: HttpInput, context: StepContext, seconds: float) -> httpx.Request:
        headers, content = _content(wanted)
        given = {"user-agent": USER_AGENT, "accept": "*/*", "idempotency-key": context.idempotency_key, **headers}
        given["accept-encoding"] = body.ACCEPT_ENCODING
        timeouts = {"connect": min(CONNECT_SECONDS, seconds), "pool": seconds}
        try:
            url = httpx.URL(wanted.url).copy_merge_params(list(_query(wanted.query)))
            if not url.is_absolute_url or url.scheme not in ("http", "https") or not url.host:
                raise _invalid("url: an absolute URL with http or https is needed")
            return self._client.build_request(
                wanted.method,
                url,
                headers=[(name.encode(), value.encode()) for name, value in given.items()],
                content=content,
                extensions={"timeout": timeouts},
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise _invalid(f"url: {error}") from None

    async def _call(self, wanted: HttpInput, request: httpx.Request, context: StepContext) -> dict[str, Any]:
        began_at = clock.now()
        response = await self._answer(request, wanted.follow_redirects)
        try:
            milliseconds = clock.milliseconds_since(began_at)
            where = _shown(response.url)
            context.log(f"{wanted.method} {where} answered {response.status_code} in {milliseconds} ms")
            if wanted.fail_on_status and response.status_code >= 400:
                raise await _status_error(response)
            content = await self._content(wanted, response, context)
        finally:
            await response.aclose()
        return {"status": response.status_code, "headers": dict(response.headers.items()), **content}

    async def _content(self, wanted: HttpInput, response: httpx.Response, context: StepContext) -> dict[str, Any]:
        """What the output says of the body: the body itself, or the file in which it is kept."""
        if wanted.save_as is None:
            return body.as_json(response, await body.read(response, self._max_response_bytes))
        data = body.pieces(response, context.max_file_bytes)
        return {"file": await context.store_file(wanted.save_as, data, response.headers.get("content-type"))}

    async def _answer(self, request: httpx.Request, follow_redirects: bool) -> httpx.Response:
        """The response at the end of the redirects. Not httpx's own way of following: that reads whole bodies."""
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            following = response.next_request
            if following is None or not follow_redirects:
                return response
            await response.aclose()
            if not _same_party(request.url, following.url):
                _forget_secrets(following)
            request = following
        raise StepError("HTTP_FAILED", f"There are more than {MAX_REDIRECTS} redirects.", retryable=False)


def _shown(url: httpx.URL) -> str:
    """`url` without query and user name, which may hold secrets."""
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"


def _invalid(message: str) -> StepError:
    return StepError("INPUT_INVALID", message[:1_000], retryable=False)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _validated(rendered: Any) -> HttpInput:
    """`rendered` as the input that its templates have made of it."""
    if isinstance(rendered, dict) and isinstance(rendered.get("headers"), dict):
        # A header whose template gives a number means its digits.
        rendered = {**rendered, "headers": {name: _plain(value) for name, value in rendered["headers"].items()}}
    try:
        return HttpInput.model_validate(rendered)
    except ValidationError as error:
        faults = (f"{path_text(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_url=False)[:5])
        raise _invalid(f"The input of the call is not valid: {'; '.join(faults)}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _content(wanted: HttpInput) -> tuple[dict[str, str], bytes | None]:
    """The headers that the flow sets, and the body."""
    headers = dict(_checked_header(name, value) for name, value in wanted.headers.items())
    if "json_body" not in wanted.model_fields_set:
        return headers, None if wanted.body is None else wanted.body.encode()
    if wanted.body is not None:
        raise _invalid("body: `json` and `body` exclude each other")
    try:
        text = json_codec.encode(wanted.json_body, limit=json_codec.MAX_INPUT_BYTES, what="body of the call")
    except FlowRunsError as error:
        raise _invalid(f"json: {error}") from None
    return {"content-type": "application/json", **headers}, text.encode()


def _checked_header(name: str, value: str) -> tuple[str, str]:
    lowered = name.lower()
    if not _HEADER_NAME.fullmatch(name) or lowered in _OUR_HEADERS:
        raise _invalid(f"headers: {name[:100]!r} cannot be set")
    if not _HEADER_VALUE.fullmatch(value):
        raise _invalid(f"headers.{name}: control characters are not allowed")
    return lowered, value.strip()


def _query(query: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The parameters of a URL: a list gives several of one name, null gives none."""
    for name, value in query.items():
        for each in value if isinstance(value, list) else [value]:
            text = _plain(each)
            if isinstance(text, str):
                yield name, text
            elif text is not None:
                raise _invalid(f"query.{name}: a string, number or boolean is needed, or a list of them")


async def _status_error(response: httpx.Response) -> StepError:
    status = response.status_code
    start = await body.read_start(response, ERROR_BODY_BYTES)
    return StepError(
        "HTTP_STATUS",
        f"{response.url.host} answered {status} {response.reason_phrase}".rstrip(),
        retryable=status >= 500 or status in _RETRYABLE_STATUSES,
        details={"status": status, "body": body.text_of(response, start)},
    )


def _same_party(before: httpx.URL, after: httpx.URL) -> bool:
    """Whether a redirect stays with the server it came from, over a connection that is no less safe."""
    is_safe = after.scheme == before.scheme or (before.scheme, after.scheme) == ("http", "https")
    # Default ports count as equal: they are None for both schemes.
    return is_safe and (before.host, before.port) == (after.host, after.port)


def _forget_secrets(request: httpx.Request) -> None:
    for name in list(request.headers):
        if name.lower() not in _HEADERS_FOR_STRANGERS:
            del request.headers[name]
