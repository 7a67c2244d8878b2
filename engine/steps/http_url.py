"""The URL of an HTTP call, which is sent exactly as it is written."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from engine.steps.kind import invalid_input

EXACT_TARGET = "flowruns_target"
"""The extension of a request that holds path and query as they are sent. httpx would encode the query again."""

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
"""The characters of a query that are not percent-encoded."""


def request_url(text: str, query: Mapping[str, Any]) -> tuple[httpx.URL, bytes]:
    """Returns the URL `text`, and the path and query that are sent: its own query as it is written, followed by
    `query`.

    Raises:
        StepError: INPUT_INVALID, it is not an absolute URL with http or https, or `query` has a value that is not text.
    """
    text = text.strip()
    try:
        url = httpx.URL(text.partition("#")[0].partition("?")[0])
    except (httpx.InvalidURL, ValueError) as error:
        raise invalid_input(f"url: {error}") from None
    if not url.is_absolute_url or url.scheme not in ("http", "https") or not url.host:
        raise invalid_input("url: must be an absolute URL with http or https")
    target = exact_target(url, text)
    if added := urlencode(list(_parameters(query))):
        target += (b"&" if b"?" in target else b"?") + added.encode()
        target = target.replace(b"?&", b"?", 1) if text.partition("#")[0].endswith("?") else target
    return url, target


def exact_target(url: httpx.URL, reference: str) -> bytes:
    """Returns the path of `url` with the query of `reference` as it is written.

    Only characters that cannot be sent (spaces, control characters and those beyond ASCII) are percent-encoded.
    """
    path = url.raw_path.partition(b"?")[0]
    _, mark, query = reference.partition("#")[0].partition("?")
    return path + mark.encode() + quote(query, safe=_VISIBLE).encode()


def as_text(value: Any) -> Any:
    """Returns a boolean or number as text; any other value unchanged."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _parameters(query: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the parameters of a URL: the name is repeated for each element of a list, and omitted for null."""
    for name, values in query.items():
        for value in values if isinstance(values, list) else [values]:
            text = as_text(value)
            if isinstance(text, str):
                yield name, text
            elif text is not None:
                raise invalid_input(f"query.{name}: must be a string, a number, a boolean, or a list of these")
