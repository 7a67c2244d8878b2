"""Reads the body of an HTTP response: never more bytes than allowed, and as a JSON value if it is one."""

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
"""Content encodings that can be decoded chunk by chunk."""

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""zlib's window size of each format; 47 accepts gzip, too."""
_RAW_DEFLATE = -15
_TEXT_TYPES = re.compile(r"text/|application/(.+\+)?(xml|javascript|x-www-form-urlencoded|yaml|x-yaml|x-ndjson)$")
_JSON_TYPES = re.compile(r"(application|text)/(.+\+)?json$")
_CHARSETS = re.compile(r"utf-(8|16|32)(-[bl]e)?|ascii|iso8859-\d+|cp\d+|shift_jis|euc_jp|euc_kr|gb\w+|big5|koi8-[ru]")
"""Character sets that browsers know. Others take quadratic time in Python (idna, punycode), or do more than decode."""


class BodyTooLargeError(Exception):
    """The body is larger than the limit."""


async def read(response: httpx.Response, limit: int) -> bytes:
    """Returns the decoded body.

    Raises:
        StepError: RESPONSE_TOO_LARGE, the body has more than `limit` bytes, as sent or decoded; HTTP_FAILED, it is
            damaged.
    """
    return b"".join([chunk async for chunk in chunks(response, limit)])


async def chunks(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """Yields the decoded body in chunks.

    Raises:
        StepError: the same errors as `read`.
    """
    try:
        async for chunk in _decoded(response, limit):
            yield chunk
    except BodyTooLargeError:
        message = f"The body of the response is larger than {limit:,} bytes."
        raise StepError("RESPONSE_TOO_LARGE", message, retryable=False, details={"limit": limit}) from None


async def read_start(response: httpx.Response, limit: int) -> bytes:
    """Returns the first `limit` bytes of the decoded body, or fewer if it is shorter."""
    parts: list[bytes] = []
    try:
        async for part in _decoded(response, limit):
            parts.append(part)
    except BodyTooLargeError as error:
        parts += error.args
    return b"".join(parts)[:limit]


async def _decoded(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """Yields the chunks of the body. Raises BodyTooLargeError, with the chunk that exceeds `limit`, when it does."""
    decoder = _decoder(response.headers.get("content-encoding", ""))
    raw_size = decoded_size = 0
    async for raw in response.aiter_raw():
        raw_size += len(raw)
        chunk = decoder.decode(raw, limit + 1 - decoded_size)
        decoded_size += len(chunk)
        # The raw size counts, too: compressed data can be endless and decode to nothing.
        if max(raw_size, decoded_size) > limit:
            raise BodyTooLargeError(chunk)
        yield chunk


class _Identity:
    def decode(self, chunk: bytes, limit: int) -> bytes:
        return chunk


class _Inflater:
    """Decodes gzip and deflate. `limit` keeps a small chunk from becoming gigabytes."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._started = False

    def decode(self, chunk: bytes, limit: int) -> bytes:
        decoded = self._inflated(chunk, limit)
        while self._inflate.eof and (chunk := self._inflate.unused_data) and len(decoded) < limit:
            # A gzip file may consist of several members, one after the other.
            self._inflate = zlib.decompressobj(self._wbits)
            decoded += self._inflated(chunk, limit - len(decoded))
        return decoded

    def _inflated(self, chunk: bytes, limit: int) -> bytes:
        is_first, self._started = not self._started, True
        try:
            return self._inflate.decompress(chunk, limit)
        except zlib.error:
            if is_first and self._wbits == _WBITS["deflate"]:
                # Some servers send deflate without the frame that the standard requires.
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
    raise StepError("HTTP_FAILED", f"The content encoding {name[:100]!r} of the response is not supported.")


def to_output(response: httpx.Response, body: bytes) -> dict[str, Any]:
    """Returns the body as fields of the output: `body` (a JSON value, text or null) or `bodyBase64` (binary data)."""
    if not body:
        return {"body": None}
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _JSON_TYPES.match(media_type):
        try:
            return {"body": orjson.loads(body)}
        except orjson.JSONDecodeError:
            return {"body": text_of(response, body)}
    if _TEXT_TYPES.match(media_type):
        return {"body": text_of(response, body)}
    if not media_type:
        try:
            return {"body": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"body": None, "bodyBase64": base64.b64encode(body).decode()}


def text_of(response: httpx.Response, body: bytes) -> str:
    """Returns `body` as text in the charset that the response names. Invalid bytes are replaced."""
    try:
        charset = codecs.lookup(response.charset_encoding or "utf-8").name
    except (LookupError, ValueError):
        charset = "utf-8"
    return body.decode(charset if _CHARSETS.fullmatch(charset) else "utf-8", errors="replace")
