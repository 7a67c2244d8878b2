"""Bodies of HTTP messages: charsets, byte order marks and content codings."""

import codecs
import gzip
import zlib

import pytest

from domain.http import body_text
from domain.http.body_text import DamagedContentError, UnsupportedCodingError

TEXT = "Müller €"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (TEXT.encode(), ""),
        (TEXT.encode(), "text/plain"),
        (codecs.BOM_UTF8 + TEXT.encode(), "application/json"),
        (codecs.BOM_UTF8 + TEXT.encode(), "text/plain; charset=UTF-8"),
        (TEXT.encode("utf-16"), "text/plain"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "text/plain"),
        (TEXT.encode("utf-16-le"), "text/plain; charset=utf-16le"),
        (TEXT.encode("utf-32"), "text/plain"),
        (TEXT.encode("cp1252"), "text/plain; charset=windows-1252"),
        (TEXT.encode("iso8859-15"), 'text/plain; boundary=x; CHARSET="ISO-8859-15"; y'),
        (TEXT.encode(), "text/plain; charset=nonsense"),
        (TEXT.encode(), "text/plain; charset="),
    ],
)
def test_text_is_read_in_its_charset(body: bytes, content_type: str) -> None:
    assert body_text.decoded_text(body, content_type) == TEXT


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "text/plain; charset=idna"])
def test_invalid_text_is_refused_or_replaced(content_type: str) -> None:
    with pytest.raises(UnicodeDecodeError):
        body_text.decoded_text(b"a\xff", content_type)
    assert body_text.decoded_text(b"a\xff", content_type, "replace") == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("coding", ["gzip", "X-GZIP", " deflate ", "identity", ""])
def test_content_codings(coding: str) -> None:
    name = coding.strip().lower()
    body = {"gzip": gzip.compress(b"abc"), "x-gzip": gzip.compress(b"abc"), "deflate": zlib.compress(b"abc")}
    assert body_text.decoder(coding).decode(body.get(name, b"abc"), 100) == b"abc"


def test_damaged_and_unknown_codings() -> None:
    with pytest.raises(DamagedContentError):
        body_text.decoder("gzip").decode(b"not gzip", 100)
    with pytest.raises(UnsupportedCodingError):
        body_text.decoder("br")
    assert len(body_text.decoder("gzip").decode(gzip.compress(bytes(10_000_000)), 1_000)) <= 1_000
