"""Reads what a client accepts from its `Accept` headers, and from headers of the same form (RFC 9110)."""

import re
from collections.abc import Mapping
from functools import lru_cache

from starlette.requests import Request

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_KEPT_HEADERS = 256
"""Number of headers that are kept parsed: clients send the same ones repeatedly."""
GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"


def accepted(request: Request) -> Mapping[str, float]:
    """Returns the media ranges that the client accepts, in lower case, with their weights from 0.001 to 1.

    Several headers are one list. A weight that is none counts as 1.
    """
    # Starlette's headers encode each name that is looked up.
    header = b",".join([value for name, value in request.scope["headers"] if name == b"accept"])
    return weights(header.decode("latin-1"))


@lru_cache(_KEPT_HEADERS)
def weights(header: str) -> Mapping[str, float]:
    """Returns the names that a header lists, in lower case, with their weights. Names of weight 0 are left out."""
    parsed = [[part.strip() for part in item.split(";")] for item in header.lower().split(",")]
    found = {name: _weight(parameters) for name, *parameters in parsed if name}
    return {name: weight for name, weight in found.items() if weight > 0}


def _weight(parameters: list[str]) -> float:
    """Returns the `q` of a media range. With `q=0`, a client lists what it does not accept."""
    pairs = dict(parameter.partition("=")[::2] for parameter in parameters)
    given = pairs.get("q", "1")
    return float(given) if _WEIGHT.fullmatch(given) else 1.0


def is_graphql_response(request: Request) -> bool:
    """Returns True if the response has the media type of GraphQL responses: the client names it, and does not prefer
    JSON."""
    media_ranges = accepted(request)
    return media_ranges.get(GRAPHQL_RESPONSE, 0) >= max(media_ranges.get(JSON, 0), 0.001)


def response_type(request: Request) -> str:
    """Returns the content type of the GraphQL response to `request`, errors included."""
    return f"{GRAPHQL_RESPONSE if is_graphql_response(request) else JSON}; charset=utf-8"
