"""HTTP steps: requests to servers on the public internet, with responses of bounded size."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal, get_args

import httpcore
import httpx
from pydantic import Field

from domain import json_codec, reasons
from domain.errors import FlowRunsError
from domain.flows.definition import LanguageModel
from domain.flows.templated import Templated
from domain.observation import spans
from domain.time import clock
from engine.errors import StepError
from engine.steps import body
from engine.steps.context import StepContext
from engine.steps.http_url import EXACT_TARGET, as_text, exact_target, request_url
from engine.steps.kind import StepKind, StepSettings, invalid_input, validated_input
from engine.steps.network import GuardedBackend, GuardedTransport, anywhere, public_only
from engine.steps.proxies import with_proxies

MAX_REDIRECTS = 5
"""Largest number of redirects that one call follows."""
CONNECT_SECONDS = 10.0
"""Longest time to connect to a server, in seconds."""
ERROR_BODY_BYTES = 2 * json_codec.KIB
"""Largest number of bytes that are kept of the body of a failed call."""
USER_AGENT = "flow-runs"

_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_SECONDS = re.compile("[0-9]{1,9}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_FRAMING_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"})
"""Headers that flows cannot set, because they frame the message on the wire."""
_CROSS_ORIGIN_HEADERS = frozenset(
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
"""Headers that follow a redirect to another server. Any other header may hold a secret of the first server."""

HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HTTP_METHODS: tuple[str, ...] = get_args(HttpMethod)


class HttpInput(LanguageModel):
    """An HTTP request. Every field may be a template, or hold templates."""

    method: Templated[HttpMethod] = "GET"
    url: str = Field(
        min_length=1,
        max_length=8_000,
        description="What a template puts behind scheme and host is percent-encoded. The query is sent as written.",
    )
    headers: Templated[dict[str, str]] = Field(default={})
    query: Templated[dict[str, Any]] = Field(default={}, description="Parameters that are added to those of `url`.")
    json_body: Any = Field(default=None, alias="json", description="The body, sent as JSON.")
    body: str | None = Field(default=None, description="The body, sent as text.")
    fail_on_status: Templated[bool] = Field(default=True, description="True: a status of 400 or above fails the step.")
    follow_redirects: Templated[bool] = True
    save_as: str | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="Name of a file of the run that stores the body of the response. Default: the output has the body.",
    )


class HttpKind(StepKind):
    """Calls a URL by HTTP."""

    name = "http"
    description = (
        "Calls a URL. The output is `{status, headers, body}`, where a JSON body is parsed; "
        "with `saveAs` it is `{status, headers, file}`."
    )
    input_model = HttpInput
    secret_fields = ("url", "headers", "query", "json", "body")
    url_fields = ("url",)
    sends_idempotency_key = True

    def __init__(self, settings: StepSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` connects to servers; the default one refuses the addresses that `settings` do not allow."""
        super().__init__(settings)
        self._max_response_bytes = settings.max_response_bytes
        self._timeout = settings.http_timeout
        rule = anywhere if settings.http_allow_private else public_only
        if transport is None:
            transport = GuardedTransport(GuardedBackend(rule))
            transport = with_proxies(transport) if settings.http_use_proxies else transport
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            timeout=None,  # noqa: S113 - the call as a whole has a timeout
            # One client serves all flows: another flow must not send the cookies of this one.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def run(self, rendered: Any, context: StepContext, /) -> Any:
        """Returns the response of the call that `rendered`, a rendered `HttpInput`, describes.

        Raises:
            StepError: INPUT_INVALID, ADDRESS_REFUSED, HTTP_FAILED, HTTP_STATUS, RESPONSE_TOO_LARGE or TIMEOUT; with
                `saveAs` also those of `StepContext.store_file`.
        """
        seconds = self._timeout if context.timeout is None else context.timeout
        call = _validated(rendered)
        request = self._request(call, context, seconds)
        try:
            return await clock.timeout(seconds, self._send(call, request, context))
        except TimeoutError:
            raise StepError("TIMEOUT", f"{request.url.host} did not respond within {seconds:g} s.") from None
        except httpcore.TimeoutException as error:
            raise StepError("TIMEOUT", f"Connecting to {request.url.host} took too long. {error}".rstrip()) from None
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpcore.LocalProtocolError) as error:
            raise invalid_input(f"The request cannot be sent: {error}") from None
        except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise StepError(
                "HTTP_FAILED", f"The call of {request.url.host} failed: {reasons.of_connection(error)}"
            ) from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _request(self, call: HttpInput, context: StepContext, seconds: float) -> httpx.Request:
        own_headers, content = _headers_and_body(call)
        defaults = {"user-agent": USER_AGENT, "accept": "*/*", "idempotency-key": context.idempotency_key}
        if (traceparent := spans.current().traceparent) is not None:
            defaults["traceparent"] = traceparent
        headers = {**defaults, **own_headers, "accept-encoding": body.ACCEPT_ENCODING}
        timeouts = {"connect": min(CONNECT_SECONDS, seconds), "pool": seconds}
        url, target = request_url(call.url, call.query)
        try:
            return self._client.build_request(
                call.method,
                url,
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                content=content,
                extensions={"timeout": timeouts, EXACT_TARGET: target},
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise invalid_input(f"url: {error}") from None

    async def _send(self, call: HttpInput, request: httpx.Request, context: StepContext) -> dict[str, Any]:
        started_at = clock.now()
        response = await self._final_response(request, call.follow_redirects)
        try:
            milliseconds = clock.milliseconds_since(started_at)
            url = _without_secrets(response.url)
            context.log(f"{call.method} {url} responded {response.status_code} in {milliseconds} ms")
            if call.fail_on_status and response.status_code >= 400:
                raise await _status_error(response)
            content = await self._content(call, response, context)
        finally:
            await response.aclose()
        return {"status": response.status_code, "headers": body.headers(response), **content}

    async def _content(self, call: HttpInput, response: httpx.Response, context: StepContext) -> dict[str, Any]:
        """Returns the body as fields of the output: the body itself, or the file that stores it."""
        if call.save_as is None:
            return body.to_output(response, await body.read(response, self._max_response_bytes))
        chunks = body.chunks(response, context.max_file_bytes)
        return {"file": await context.store_file(call.save_as, chunks, response.headers.get("content-type"))}

    async def _final_response(self, request: httpx.Request, follow_redirects: bool) -> httpx.Response:
        """Returns the response at the end of all redirects.

        httpx would read the whole body of each redirect. This function drops it unread.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            next_request = response.next_request
            if next_request is None or not follow_redirects:
                return response
            await response.aclose()
            if not _is_same_server(request.url, next_request.url):
                _remove_secrets(next_request)
            target = exact_target(next_request.url, response.headers["location"])
            next_request.extensions = {**next_request.extensions, EXACT_TARGET: target}
            request = next_request
        raise StepError("HTTP_FAILED", f"The call was redirected more than {MAX_REDIRECTS} times.", retryable=False)


def _without_secrets(url: httpx.URL) -> str:
    """Returns `url` without query and user name, which may hold secrets."""
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"


def _validated(rendered: Any) -> HttpInput:
    """Returns the rendered input as an `HttpInput`."""
    if isinstance(rendered, dict) and isinstance(rendered.get("headers"), dict):
        # The template of a header may render to a number.
        rendered = {**rendered, "headers": {name: as_text(value) for name, value in rendered["headers"].items()}}
    return validated_input(HttpInput, rendered)


def _headers_and_body(call: HttpInput) -> tuple[dict[str, str], bytes | None]:
    """Returns the headers that the flow sets, and the body."""
    headers = dict(_checked_header(name, value) for name, value in call.headers.items())
    if "json_body" not in call.model_fields_set:
        return headers, None if call.body is None else call.body.encode()
    if call.body is not None:
        raise invalid_input("body: `json` and `body` exclude each other")
    try:
        text = json_codec.encode(call.json_body, limit=json_codec.MAX_INPUT_BYTES, what="body of the call")
    except FlowRunsError as error:
        raise invalid_input(f"json: {error}") from None
    return {"content-type": "application/json", **headers}, text.encode()


def _checked_header(name: str, value: str) -> tuple[str, str]:
    lowered = name.lower()
    if not _HEADER_NAME.fullmatch(name) or lowered in _FRAMING_HEADERS:
        raise invalid_input(f"headers: {name[:100]!r} cannot be set")
    if not _HEADER_VALUE.fullmatch(value):
        raise invalid_input(f"headers.{name}: control characters are not allowed")
    return lowered, value.strip()


async def _status_error(response: httpx.Response) -> StepError:
    status = response.status_code
    start = await body.read_start(response, ERROR_BODY_BYTES)
    after = retry_after(response)
    details = {"status": status, "body": body.text_of(response, start)}
    return StepError(
        "HTTP_STATUS",
        f"{response.url.host} responded {status} {response.reason_phrase}".rstrip(),
        retryable=status >= 500 or status in _RETRYABLE_STATUSES,
        details=details if after is None else {**details, "retryAfter": after},
        retry_after=after,
    )


def retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds after which the server accepts the call again; None if the server does not say."""
    text = response.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - clock.now()).total_seconds())


def _is_same_server(before: httpx.URL, after: httpx.URL) -> bool:
    """True if a redirect stays on the same server, over a connection that is at least as safe."""
    is_safe = after.scheme == before.scheme or (before.scheme, after.scheme) == ("http", "https")
    # Default ports count as equal: they are None for both schemes.
    return is_safe and (before.host, before.port) == (after.host, after.port)


def _remove_secrets(request: httpx.Request) -> None:
    for name in list(request.headers):
        if name.lower() not in _CROSS_ORIGIN_HEADERS:
            del request.headers[name]
