"""Masks the parts of a URL that may be a token, in what its receiver answers, and in logs and errors of runs that use
it."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import unquote, unquote_plus, urlsplit

from engine.secrets.masks import MIN_LENGTH, Masker

_TOKEN = re.compile(
    r"(?<![a-z0-9])(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{10,}(?![a-z0-9])",
    re.IGNORECASE,
)
"""Matches a word that may be a token: 10 letters and digits or more, with some of both."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MAX_LENGTH = 2_000
"""Characters of the longest value that is taken for a URL. Keys and certificates have slashes and lines."""
_MAX_VALUES = 100
"""Values of one run whose parts are masked. Making a masker takes a millisecond, and a redacted output can have
thousands of texts."""
_KEPT = 200
"""Maskers that are kept, for endpoints that get many deliveries: making one takes a millisecond, and 20 KB."""


@lru_cache(_KEPT)
def url_masker(url: str) -> Masker:
    """Returns the masker of the parts of `url`: everything but the host of a web server, as a whole and by parts.

    Labels of the host that may be a token, as in `https://eo4vbz1q7xk2.m.example`, are masked, too.

    The log of the service is not masked: parts such as `/graphql` stand in unrelated lines.
    """
    parts = {form for part in _parts(url) for form in (part, unquote(part), unquote_plus(part))}
    return Masker(sorted(part for part in parts if len(part) >= MIN_LENGTH), masks_log=False)


def maskers_of_parts(values: Iterable[str]) -> list[Masker]:
    """Returns the maskers of the parts of those values that may be URLs, with or without a scheme.

    An HTTP call is logged without the query of its URL, and servers repeat paths: neither has the value as a whole.
    """
    stripped = (value.strip() for value in values)
    urls = [value for value in stripped if "/" in value and len(value) <= _MAX_LENGTH and len(value.split()) == 1]
    return [masker for url in sorted(urls)[:_MAX_VALUES] if (masker := _masker_of_parts(url)) is not None]


def _masker_of_parts(url: str) -> Masker | None:
    try:
        return url_masker(url if _SCHEME.match(url) else f"https://{url}")
    except ValueError:
        return None  # No URL: nothing takes it apart.


def origin_of(url: str) -> str:
    """Returns scheme and host of a URL, with `***` in the place of labels that may be a token."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    labels = ("***" if _TOKEN.search(label) else label for label in host.split("."))
    return f"{parts.scheme}://{'.'.join(labels)}"


def _parts(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    account, _, server = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https"):
        # Of a chat service: the text in the place of the host may be a token.
        yield from (parts.netloc, server)
    yield from (label for label in server.split(".") if _TOKEN.search(label))
    yield from (url, account, *account.split(":", 1))
    yield from (parts.path, *parts.path.split("/"), f"{parts.path}?{parts.query}")
    yield from (parts.query, parts.fragment)
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        yield value or name
