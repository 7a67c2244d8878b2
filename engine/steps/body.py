"""Reading the body of an HTTP response: never more of it than allowed, and then as the JSON value that it is."""

import base64
import codecs
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from engine.errors import StepError

ACCEPT_ENCODING = "gzip, deflate"
"""What can be decoded here piece by piece."""

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""zlib's name of each format; 47 also takes gzip."""
_RAW_DEFLATE = -15
_TEXT_TYPES = re.compile(r"text/|application/(.+\+)?(xml|javascript|x-www-form-urlencoded|yaml|x-yaml|x-ndjson)$")
_JSON_TYPES = re.compile(r"(application|text)/(.+\+)?json$")
_CHARSETS = re.compile(r"utf-(8|16|32)(-[bl]e)?|ascii|iso8859-\d+|cp\d+|shift_jis|euc_jp|euc_kr|gb\w+|big5|koi8-[ru]")
"""Those that browsers know. Others of Python's take quadratic time (idna, punycode), or do more than decode."""


class BodyTooLargeError(Exception):
    """The body goes on beyond the limit."""


async def read(response: httpx.Response, limit: int) -> bytes:
    """The decoded body.

    Raises:
        StepError: RESPONSE_TOO_LARGE, it has more than `limit` bytes, as sent or decoded; HTTP_FAILED, it is damaged.
    """
    return b"".join([piece async for piece in pieces(response, limit)])


async def pieces(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """The decoded body, piece by piece.

    Raises:
        StepError: like `read`.
    """
    try:
        async for piece in _decoded(response, limit):
            yield piece
    except BodyTooLargeError:
        message = f"The body of the response has more than {limit:,} bytes."
        raise StepError("RESPONSE_TOO_LARGE", message, retryable=False, details={"limit": limit}) from None


async def read_start(response: httpx.Response, limit: int) -> bytes:
    """The first `limit` bytes of the decoded body, or a few more."""
    parts: list[bytes] = []
    try:
        async for part in _decoded(response, limit):
            parts.append(part)
    except BodyTooLargeError as error:
        parts += error.args
    return b"".join(parts)[:limit]


async def _decoded(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """The pieces of the body. Fails as soon as there are more than `limit` bytes, with the piece that is too much."""
    decoder = _decoder(response.headers.get("content-encoding", ""))
    received = given = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        piece = decoder.decode(chunk, limit + 1 - given)
        given += len(piece)
        # What was received counts too: compressed data can go on for ever without anything in it.
        if max(received, given) > limit:
            raise BodyTooLargeError(piece)
        yield piece


class _Identity:
    def decode(self, chunk: bytes, limit: int) -> bytes:
        return chunk


class _Inflater:
    """Decodes gzip and deflate; `limit` keeps a small chunk from becoming gigabytes."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._started = False

    def decode(self, chunk: bytes, limit: int) -> bytes:
        found = self._inflated(chunk, limit)
        while self._inflate.eof and (chunk := self._inflate.unused_data) and len(found) < limit:
            # A gzip file may consist of several, one after the other.
            self._inflate = zlib.decompressobj(self._wbits)
            found += self._inflated(chunk, limit - len(found))
        return found

    def _inflated(self, chunk: bytes, limit: int) -> bytes:
        is_first, self._started = not self._started, True
        try:
            return self._inflate.decompress(chunk, limit)
        except zlib.error:
            if is_first and self._wbits == _WBITS["deflate"]:
                # Some servers send deflate without the frame that the standard asks for.
                self._wbits = _RAW_DEFLATE
                self._inflate = zlib.decompressobj(_RAW_DEFLATE)
                return self._inflated(chunk, limit)
            raise StepError("HTTP_FAILED", "The compressed body of the response is damaged.") from None


def _decoder(encoding: str) -> _Identity | _Inflater:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Identity()
    if name in _WBITS:
        return _Inflater(_WBITS[name])
    raise StepError("HTTP_FAILED", f"The body of the response is encoded as {name[:100]!r}, which is not supported.")


def as_json(response: httpx.Response, body: bytes) -> dict[str, Any]:
    """The output's `body` (a value, or text, or null), or `bodyBase64` for what is neither."""
    if not body:
        return {"body": None}
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _JSON_TYPES.match(kind):
        try:
            return {"body": orjson.loads(body)}
        except orjson.JSONDecodeError:
            return {"body": text_of(response, body)}
    if _TEXT_TYPES.match(kind):
        return {"body": text_of(response, body)}
    if not kind:
        try:
            return {"body": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"body": None, "bodyBase64": base64.b64encode(body).decode()}


def text_of(response: httpx.Response, body: bytes) -> str:
    """`body` as text, in the charset that the response names; what does not fit into it is replaced."""
    try:
        charset = codecs.lookup(response.charset_encoding or "utf-8").name
    except (LookupError, ValueError):
        charset = "utf-8"
    return body.decode(charset if _CHARSETS.fullmatch(charset) else "utf-8", errors="replace")
