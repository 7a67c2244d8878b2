"""Masks the parts of a URL that may be a token, in what its receiver answers."""

from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote, unquote_plus, urlsplit

from engine.secrets.masks import MIN_LENGTH, Masker

_KEPT = 200
"""Maskers that are kept, for endpoints that get many deliveries: making one takes a millisecond, and 20 KB."""


@lru_cache(_KEPT)
def url_masker(url: str) -> Masker:
    """Returns the masker of the parts of `url`: everything but the host of a web server, as a whole and by parts.

    The log of the service is not masked: parts such as `/graphql` stand in unrelated lines.
    """
    parts = {form for part in _parts(url) for form in (part, unquote(part), unquote_plus(part))}
    return Masker(sorted(part for part in parts if len(part) >= MIN_LENGTH), masks_log=False)


def _parts(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    account, _, server = parts.netloc.rpartition("@")
    if parts.scheme not in ("http", "https"):
        # Of a chat service: the text in the place of the host may be a token.
        yield from (parts.netloc, server)
    yield from (url, account, *account.split(":", 1))
    yield from (parts.path, *parts.path.split("/"), f"{parts.path}?{parts.query}")
    yield from (parts.query, parts.fragment)
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        yield value or name
