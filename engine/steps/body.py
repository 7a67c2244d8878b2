"""Reads the body of an HTTP response, up to a largest size, as a JSON value if it is one."""

import base64
from collections.abc import AsyncIterator
from json import JSONDecodeError
from typing import Any

import httpx

from domain import json_codec
from domain.errors import NumberOutOfRangeError
from domain.http import body_text
from domain.http.body_text import DamagedContentError, Decoder, UnsupportedCodingError
from engine.errors import StepError

ACCEPT_ENCODING = "gzip, deflate"
"""Content encodings that can be decoded chunk by chunk."""


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
    """Yields the chunks of the body.

    Raises:
        BodyTooLargeError: the body exceeds `limit`. The error has the chunk that does.
    """
    decoder = _decoder(response)
    raw_size = decoded_size = 0
    async for raw in response.aiter_raw():
        raw_size += len(raw)
        try:
            chunk = decoder.decode(raw, limit + 1 - decoded_size)
        except DamagedContentError:
            raise StepError("HTTP_FAILED", "The compressed body of the response is damaged.") from None
        decoded_size += len(chunk)
        # The raw size counts, too: compressed data can be endless and decode to nothing.
        if max(raw_size, decoded_size) > limit:
            raise BodyTooLargeError(chunk)
        yield chunk


def _decoder(response: httpx.Response) -> Decoder:
    try:
        return body_text.decoder(response.headers.get("content-encoding", ""))
    except UnsupportedCodingError as error:
        raise StepError("HTTP_FAILED", f"The response cannot be read. {error}") from None


def to_output(response: httpx.Response, body: bytes) -> dict[str, Any]:
    """Returns the body as fields of the output: `body` (a JSON value, text or null) or `bodyBase64` (binary data).

    Raises:
        StepError: NUMBER_OUT_OF_RANGE, a JSON body has a number that cannot be kept.
    """
    if not body:
        return {"body": None}
    media = body_text.media_type(response.headers.get("content-type", ""))
    if body_text.is_json_type(media):
        text = text_of(response, body)
        try:
            return {"body": json_codec.parse(text.encode(errors="replace"))}
        except JSONDecodeError:
            return {"body": text}
        except NumberOutOfRangeError as error:
            message = f"The response has a number beyond 64 bits, which cannot be kept. {error.message}"
            raise StepError(error.code, message, retryable=False) from None
    if body_text.is_text_type(media):
        return {"body": text_of(response, body)}
    if not media:
        try:
            return {"body": body_text.decoded_text(body, "")}
        except UnicodeDecodeError:
            pass
    return {"body": None, "bodyBase64": base64.b64encode(body).decode()}


def text_of(response: httpx.Response, body: bytes) -> str:
    """Returns `body` as text in the charset that the response names. Invalid bytes are replaced."""
    return body_text.decoded_text(body, response.headers.get("content-type", ""), errors="replace")


def headers(response: httpx.Response) -> dict[str, Any]:
    """Returns the headers of a response, with names in lower case. The value of a repeated header is a list."""
    names = dict.fromkeys(response.headers)
    values = {name: response.headers.get_list(name) for name in names}
    return {name: each[0] if len(each) == 1 else each for name, each in values.items()}
