"""Reads the media types that a client accepts from its `Accept` headers (RFC 9110)."""

import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.requests import Request

_ZERO = re.compile(r"0(\.0{0,3})?")
_KEPT_HEADERS = 256
"""Headers that are kept parsed: clients send the same ones again and again."""
GRAPHQL_RESPONSE = "application/graphql-response+json"


def accepted(request: Request) -> Sequence[str]:
    """Returns the media ranges that the client accepts, in lower case. Several headers are one list."""
    return _accepted(",".join(request.headers.getlist("accept")))


@lru_cache(_KEPT_HEADERS)
def _accepted(header: str) -> Sequence[str]:
    parsed = [[part.strip() for part in media_range.split(";")] for media_range in header.lower().split(",")]
    return [name for name, *parameters in parsed if name and not any(map(_is_refusal, parameters))]


def _is_refusal(parameter: str) -> bool:
    """Returns True for `q=0`, with which a client lists what it does not accept."""
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and _ZERO.fullmatch(value.strip()) is not None


def accepts_graphql_response(request: Request) -> bool:
    """Returns True if the client accepts the media type of GraphQL responses by its name."""
    return GRAPHQL_RESPONSE in accepted(request)


def response_type(request: Request) -> str:
    """Returns the content type of the GraphQL response to `request`, errors included."""
    return f"{GRAPHQL_RESPONSE if accepts_graphql_response(request) else 'application/json'}; charset=utf-8"
