"""Parses the bodies of webhook calls in the forms that senders use."""

import base64
from collections.abc import AsyncGenerator, Iterable
from json import JSONDecodeError
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from domain import json_codec
from domain.errors import NumberOutOfRangeError, PayloadTooLargeError
from domain.http import body_text
from domain.http.body_text import DamagedContentError, UnsupportedCodingError

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_MAX_PARTS = 1_000
"""Largest number of fields and files of one form."""
_MAX_FIELDS = 10_000
"""Largest number of fields of one form that is no multipart form. As many take 20 ms, while nothing else is
executed."""
_FALLBACK_CHARSETS = ("cp1252", "latin-1")
"""Charsets of forms that are not UTF-8. The second one decodes every byte."""
_CHARSET_FIELDS = ("_charset_", "charset")
"""Fields in which senders such as PayPal name the charset of their form."""
_PAYLOAD = "payload"
"""The field in which GitHub, Slack and others put JSON into a form."""


async def parse(body: bytes, content_type: str, coding: str, limit: int) -> dict[str, Any]:
    """Returns a body in the form that the run sees: `body`, or `bodyBase64` if it cannot be decoded.

    `coding` is its Content-Encoding; `limit` is the largest size of the decompressed body, in bytes.

    Raises:
        NumberOutOfRangeError: it is JSON with a number that cannot be kept.
        PayloadTooLargeError: the decompressed body is too large, or a form with too many fields.
    """
    try:
        plain = _decompressed(body, coding, limit)
    except (DamagedContentError, UnsupportedCodingError):
        return _binary(body)
    media = body_text.media_type(content_type)
    if not plain:
        return {"body": None}
    if media == _FORM:
        return {"body": _as_json(plain, "") or _form(plain, content_type)}
    if media == _MULTIPART:
        try:
            return {"body": await _multipart(plain, content_type, limit)}
        except MultiPartException:
            return _binary(plain)
    if body_text.is_json_type(media):
        return _json(plain, content_type)
    # Some senders have media types of their own for JSON, such as application/csp-report.
    may_be_json = media == "text/plain" or not body_text.is_text_type(media)
    if may_be_json and (value := _as_json(plain, content_type)) is not None:
        return {"body": value}
    if media and not body_text.is_text_type(media):
        return _binary(plain)
    return _text(plain, content_type)


def query(raw: bytes) -> dict[str, Any]:
    """Returns the parameters of a URL; the value of a repeated name is a list."""
    return _collected(_decoded(_pairs(raw), None))


def collected(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of the pairs; the value of a repeated name is a list."""
    lists: dict[str, list[Any]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}


_collected = collected


def _decompressed(body: bytes, coding: str, limit: int) -> bytes:
    # Codings are listed in the order in which they were applied.
    for name in reversed(coding.split(",")):
        body = body_text.decoder(name).decode(body, limit + 1)
        if len(body) > limit:
            raise PayloadTooLargeError(f"The body must have at most {limit:,} bytes, also after decompression.")
    return body


def _binary(body: bytes) -> dict[str, Any]:
    return {"body": None, "bodyBase64": base64.b64encode(body).decode()}


def _text(body: bytes, content_type: str) -> dict[str, Any]:
    try:
        charset = body_text.charset_of(content_type)
        if charset is not None and body_text.known_charset(charset) is None:
            return _binary(body)
        return {"body": body_text.decoded_text(body, content_type)}
    except UnicodeDecodeError:
        return _binary(body)


def _json(body: bytes, content_type: str) -> dict[str, Any]:
    """Returns a JSON body parsed. A body that is not JSON, in spite of its type, is returned as text."""
    try:
        text = body_text.decoded_text(body, content_type)
        value = json_codec.parse(text.encode())
        # JSON that is too deep to be encoded again is kept as text.
        orjson.dumps([[[value]]])
    except (JSONDecodeError, UnicodeError, TypeError):
        return _text(body, content_type)
    return {"body": value}


def _as_json(body: bytes, content_type: str) -> Any:
    """Returns the JSON object or list in a body with another media type; None if the body is none."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        return None
    try:
        value = _json(body, content_type).get("body")
    except NumberOutOfRangeError:
        return None
    return value if isinstance(value, dict | list) else None


def _form(body: bytes, content_type: str) -> dict[str, Any]:
    if body.count(b"&") >= _MAX_FIELDS:
        raise PayloadTooLargeError(f"A form must have at most {_MAX_FIELDS:,} fields.")
    fields = _collected(_decoded(_pairs(body), body_text.charset_of(content_type)))
    return _with_payload(fields)


def _with_payload(fields: dict[str, Any]) -> dict[str, Any]:
    payload = fields.get(_PAYLOAD)
    if isinstance(payload, str) and (value := _as_json(payload.encode(errors="replace"), "")) is not None:
        return {**fields, _PAYLOAD: value}
    return fields


def _pairs(raw: bytes) -> list[tuple[bytes, bytes]]:
    pairs = [part.partition(b"=") for part in raw.split(b"&") if part]
    return [(_unquoted(name), _unquoted(value)) for name, _, value in pairs]


def _unquoted(raw: bytes) -> bytes:
    return unquote_to_bytes(raw.replace(b"+", b" "))


def _decoded(pairs: list[tuple[bytes, bytes]], charset: str | None) -> list[tuple[str, str]]:
    """Returns names and values as text, decoded in the declared charset, in UTF-8, or in the charset that a field
    names."""
    named = [value.decode("latin-1") for name, value in pairs if name.decode("latin-1").lower() in _CHARSET_FIELDS]
    for candidate in (charset, "utf-8", *named, *_FALLBACK_CHARSETS):
        codec = body_text.known_charset(candidate or "")
        if codec is None:
            continue
        try:
            return [(name.decode(codec), value.decode(codec)) for name, value in pairs]
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes every byte")


async def _multipart(body: bytes, content_type: str, limit: int) -> dict[str, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    headers = Headers({"content-type": content_type})
    parser = MultiPartParser(headers, stream(), max_files=_MAX_PARTS, max_fields=_MAX_PARTS, max_part_size=limit)
    form = await parser.parse()
    try:
        pairs = [(name, await _part(value)) for name, value in form.multi_items()]
    finally:
        await form.close()
    return _with_payload(_collected(pairs))


async def _part(value: str | UploadFile) -> Any:
    """Returns a field as text, and a file as an object with its content as `text` or `base64`."""
    if isinstance(value, str):
        return value
    content = await value.read()
    description = {"filename": value.filename, "contentType": value.content_type, "size": len(content)}
    media = body_text.media_type(value.content_type or "")
    if body_text.is_text_type(media) or body_text.is_json_type(media):
        decoded = _text(content, value.content_type or "")["body"]
        if decoded is not None:
            return {**description, "text": decoded}
    return {**description, "base64": base64.b64encode(content).decode()}
