"""Verifies the signatures of webhook calls. All forms use HMAC-SHA256; they differ in what is signed."""

import base64
import binascii
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from domain.enums import WebhookSignature

TOLERANCE_SECONDS = 300
"""Longest distance between the time stamp of a signed call and now, in seconds. An older call may be a replay."""
STANDARD_PREFIX = "whsec_"
"""Prefix of a secret of Standard Webhooks. The rest of the secret is base64."""

HEADERS = {
    WebhookSignature.GITHUB: "x-hub-signature-256",
    WebhookSignature.STANDARD_WEBHOOKS: "webhook-signature",
    WebhookSignature.SVIX: "svix-signature",
    WebhookSignature.STRIPE: "stripe-signature",
    WebhookSignature.SLACK: "x-slack-signature",
}
"""The header of each named form of signature."""
_BY_HEADER = {header: form for form, header in HEADERS.items()}


class Signed(NamedTuple):
    """The signed parts of a call: the signed text, its signatures, and the time of signing."""

    content: bytes
    signatures: tuple[str, ...]
    """The signatures in hex or base64, without their prefixes."""
    at: str | None
    """The time of signing in seconds since 1970; None if the form has no time stamp."""


def form_of(header: str) -> WebhookSignature:
    """Returns the form of the signatures in `header`, a name in lower case."""
    return _BY_HEADER.get(header, WebhookSignature.HMAC)


def is_usable_secret(form: WebhookSignature, secret: str) -> bool:
    """Returns True if calls can be verified with `secret`."""
    return form not in (WebhookSignature.STANDARD_WEBHOOKS, WebhookSignature.SVIX) or _standard_key(secret) is not None


def is_valid(header: str, secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Returns True if a call has a valid signature in `header`. The names of `headers` are in lower case."""
    form = form_of(header)
    signed = _signed(form, header, headers, body)
    if signed is None or not _is_timely(signed.at, now):
        return False
    key = secret.encode()
    if form in (WebhookSignature.STANDARD_WEBHOOKS, WebhookSignature.SVIX):
        key = _standard_key(secret) or key
    digest = hmac.digest(key, signed.content, "sha256")
    # All signatures are compared, in constant time: a sender that changes its secret signs with the old and the new
    # one.
    matches = [_is_digest(signature, digest) for signature in signed.signatures]
    return any(matches)


def _signed(form: WebhookSignature, header: str, headers: Mapping[str, str], body: bytes) -> Signed | None:
    """Returns the signed parts of the call; None if some are missing."""
    sent = headers.get(header, "").strip()
    if form is WebhookSignature.STRIPE:
        pairs = [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in sent.split(","))]
        at = next((value for name, value in pairs if name == "t"), None)
        signatures = tuple(value for name, value in pairs if name == "v1")
        return None if at is None else Signed(f"{at}.".encode() + body, signatures, at)
    if form is WebhookSignature.SLACK:
        at = headers.get("x-slack-request-timestamp")
        return None if at is None else Signed(f"v0:{at}:".encode() + body, (sent.removeprefix("v0="),), at)
    if form in (WebhookSignature.STANDARD_WEBHOOKS, WebhookSignature.SVIX):
        prefix = header.removesuffix("-signature")
        call_id, at = headers.get(f"{prefix}-id"), headers.get(f"{prefix}-timestamp")
        if call_id is None or at is None:
            return None
        signatures = tuple(value for version, _, value in _versions(sent) if version == "v1")
        return Signed(f"{call_id}.{at}.".encode() + body, signatures, at)
    return Signed(body, tuple(part.partition("sha256=")[2] or part for part in _listed(sent)), None)


def _versions(sent: str) -> Iterator[tuple[str, str, str]]:
    return (part.partition(",") for part in sent.split())


def _listed(sent: str) -> Iterator[str]:
    """Yields the signatures of a header, separated by commas or spaces. The prefix may also be `SHA256=`."""
    for part in sent.replace(",", " ").split():
        name, mark, value = part.partition("=")
        yield f"sha256={value}" if mark and name.lower() == "sha256" else part


def _standard_key(secret: str) -> bytes | None:
    """Returns the key of a secret of Standard Webhooks; None if it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _is_timely(at: str | None, now: datetime) -> bool:
    if at is None:
        return True
    return at.isdecimal() and len(at) < 16 and abs(int(at) - now.timestamp()) <= TOLERANCE_SECONDS


def _is_digest(signature: str, digest: bytes) -> bool:
    sent = signature.encode()
    as_hex, as_base64 = digest.hex().encode(), base64.b64encode(digest)
    return hmac.compare_digest(sent.lower(), as_hex) or hmac.compare_digest(sent, as_base64)
