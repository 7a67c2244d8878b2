"""Bodies of HTTP messages as they are sent: their content codings, charsets and media types."""

import codecs
import re
import zlib
from typing import Protocol

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""The window size that zlib needs for each format; 47 accepts gzip, too."""
_RAW_DEFLATE = -15
_TEXT_TYPES = re.compile(
    r"text/|application/(.+\+)?(xml|javascript|x-www-form-urlencoded|yaml|x-yaml|x-ndjson)$|[^/]+/.+\+xml$"
)
_JSON_TYPES = re.compile(r"(application|text)/(.+\+)?json$")
_CHARSETS = re.compile(
    r"utf-(8|16|32)(-[bl]e)?|ascii|iso8859-\d+|cp\d+|shift_jis|euc_jp|euc_kr|gb\w+|big5|koi8-[ru]|mac-roman"
)
"""Charsets that browsers know. Others take quadratic time in Python (idna, punycode), or do more than decode."""
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and their charsets. The mark of UTF-32 begins with that of UTF-16, so it comes first."""
_PARAMETER = re.compile(r""";\s*charset\s*=\s*("[^"]*"|[^\s;]*)""", re.IGNORECASE)


class DamagedContentError(ValueError):
    """A compressed body is damaged."""


class UnsupportedCodingError(ValueError):
    """A body has a content coding that is not supported."""


class Decoder(Protocol):
    """Removes a content coding, chunk by chunk."""

    def decode(self, chunk: bytes, limit: int, /) -> bytes:
        """Returns the decoded chunk, but not much more than `limit` bytes of it.

        Raises:
            DamagedContentError
        """
        ...


class _Identity:
    def decode(self, chunk: bytes, limit: int, /) -> bytes:
        return chunk


class _Inflater:
    """Decodes gzip and deflate. `limit` keeps a small chunk from becoming gigabytes."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._started = False

    def decode(self, chunk: bytes, limit: int, /) -> bytes:
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
                # Some senders write deflate without the frame that the standard requires.
                self._wbits = _RAW_DEFLATE
                self._inflate = zlib.decompressobj(_RAW_DEFLATE)
                return self._inflated(chunk, limit)
            raise DamagedContentError from None


def decoder(coding: str) -> Decoder:
    """Returns the decoder of a Content-Encoding.

    Raises:
        UnsupportedCodingError
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return _Identity()
    if name in _WBITS:
        return _Inflater(_WBITS[name])
    raise UnsupportedCodingError(f"The content encoding {name[:100]!r} is not supported.")


def media_type(content_type: str) -> str:
    """Returns the media type of a Content-Type, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json_type(media: str) -> bool:
    """Returns True if bodies of this media type are JSON."""
    return _JSON_TYPES.match(media) is not None


def is_text_type(media: str) -> bool:
    """Returns True if bodies of this media type are text."""
    return _TEXT_TYPES.match(media) is not None


def known_charset(name: str) -> str | None:
    """Returns the codec of a charset; None if browsers do not know it."""
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return codec if _CHARSETS.fullmatch(codec) else None


def charset_of(content_type: str) -> str | None:
    """Returns the charset that a Content-Type declares; None if it declares none."""
    found = _PARAMETER.search(content_type)
    return found[1].strip('"') or None if found else None


def decoded_text(body: bytes, content_type: str, errors: str = "strict") -> str:
    """Returns `body` as text in the declared charset, or in that of its byte order mark, or else in UTF-8.

    Raises:
        UnicodeDecodeError: the body is not text in this charset; or it declares one that is unknown, and is not UTF-8.
    """
    charset = known_charset(charset_of(content_type) or "")
    if charset is None:
        marked = (codec for mark, codec in _BYTE_ORDER_MARKS if body.startswith(mark))
        charset = next(marked, "utf-8")
    return body.decode(charset, errors).removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
