"""The filters that read and write other encodings: JSON, URLs, base64 and digests."""

import base64
import binascii
import hashlib
import hmac
from typing import Any
from urllib.parse import quote

import orjson

from domain import json_codec
from domain.errors import NumberOutOfRangeError
from engine.secrets import placeholders
from engine.templates import operations
from engine.templates.meter import Meter, template_error, type_name
from engine.templates.operations import Operation

_DIGESTS = ("md5", "sha1", "sha256", "sha384", "sha512")
_DIGEST_STEPS = 64
"""Number of bytes for which a digest pays one step."""


def from_json(meter: Meter, value: Any) -> Any:
    """Returns the value of JSON text. A value that is not text is returned unchanged: it has been parsed already."""
    if not isinstance(value, str):
        meter.weigh(value)
        return value
    text = value.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").encode(errors="replace")
    meter.read(value)
    try:
        parsed = json_codec.parse(text)
    except NumberOutOfRangeError:
        raise operations.number_out_of_range() from None
    except orjson.JSONDecodeError as error:
        raise template_error(f"The text is not JSON: {error}") from None
    # The weight is estimated from its text, without traversing the value.
    meter.check_weight(meter.weigh(parsed))
    return parsed


def to_json(meter: Meter, value: Any) -> str:
    """Returns `value` as JSON text."""
    return meter.made(orjson.dumps(meter.read(value)).decode())


def urlencode(meter: Meter, value: Any) -> str:
    """Returns text percent-encoded for a URL; for an object, a query string."""
    if isinstance(value, dict):
        meter.work(len(value))
        parts = (f"{quoted(meter, key)}={quoted(meter, entry)}" for key, entry in value.items())
        pieces = (f"&{part}" if index else part for index, part in enumerate(parts))
        return operations.EncodedText(operations.join_text(meter, pieces))
    return operations.EncodedText(quoted(meter, value))


def quoted(meter: Meter, value: Any) -> str:
    """Returns `value` as text, percent-encoded except letters, digits and `-._~`."""
    text = operations.text_of(meter, value)
    if meter.marker is not None and meter.marker in text:
        return meter.made(placeholders.encoded(meter.marker, "urlencode", text))
    # The cost is paid before the quoting, which is slow and may turn each byte into three.
    meter.work(len(text) // 4)
    meter.check_weight(len(text.encode()))
    return meter.made(quote(text, safe=""))


def b64encode(meter: Meter, value: Any, urlsafe: bool = False) -> str:
    """Returns the UTF-8 of the text in base64; with `urlsafe`, in the alphabet for URLs and tokens."""
    text = operations.text_of(meter, value)
    if meter.marker is not None and meter.marker in text:
        if urlsafe:
            raise template_error("Secrets cannot be encoded in the alphabet of URLs")
        return meter.made(placeholders.encoded(meter.marker, "b64encode", text))
    data = meter.read(text).encode()
    encoded = base64.urlsafe_b64encode(data) if urlsafe else base64.b64encode(data)
    return meter.made(encoded.decode())


def b64decode(meter: Meter, value: Any) -> str:
    """Returns the text whose UTF-8 is encoded by `value`, in either alphabet of base64, with or without `=` at its
    end."""
    if not isinstance(value, str):
        raise template_error(f"A text in base64 is needed here; this is {type_name(value)}")
    text = "".join(meter.read(value).split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        return meter.made(data.decode())
    except UnicodeDecodeError:
        raise template_error("The base64 does not encode text in UTF-8") from None
    except (binascii.Error, ValueError):
        raise template_error("The text is not base64") from None


def digest(meter: Meter, value: Any, algorithm: str = "sha256") -> str:
    """Returns the digest of the UTF-8 of the text, in hex: `hash`, `hash('md5')`."""
    return hashlib.new(_algorithm(algorithm), _data(meter, value), usedforsecurity=False).hexdigest()


def keyed_digest(meter: Meter, value: Any, key: str, algorithm: str = "sha256") -> str:
    """Returns the HMAC of the UTF-8 of the text with `key`, in hex."""
    return hmac.new(_data(meter, key), _data(meter, value), _algorithm(algorithm)).hexdigest()


def _data(meter: Meter, value: Any) -> bytes:
    text = operations.text_of(meter, value)
    meter.work(len(text) // _DIGEST_STEPS)
    return meter.read(text).encode(errors="replace")


def _algorithm(name: Any) -> str:
    lowered = name.lower().replace("-", "") if isinstance(name, str) else ""
    if lowered not in _DIGESTS:
        raise template_error(f"The algorithm of a hash must be one of {', '.join(_DIGESTS)}")
    return lowered


ENCODING_FILTERS: dict[str, Operation] = {
    "b64decode": b64decode,
    "b64encode": b64encode,
    "fromjson": from_json,
    "hash": digest,
    "hmac": keyed_digest,
    "tojson": to_json,
    "urlencode": urlencode,
}
