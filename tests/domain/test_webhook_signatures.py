"""Signatures of webhook calls, as senders document them."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from domain.enums import WebhookSignature
from domain.http import webhook_signatures

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b'{"a": 1}'
KEY = b"0123456789abcdef01234567"
STANDARD = "whsec_" + base64.b64encode(KEY).decode()


def mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def stripe(key: bytes, at: str = STAMP, body: bytes = BODY) -> str:
    return mac(key, f"{at}.".encode() + body).hex()


def slack(at: str = STAMP, body: bytes = BODY) -> str:
    return "v0=" + mac(b"s", f"v0:{at}:".encode() + body).hex()


def standard(key: bytes = KEY, at: str = STAMP, call_id: str = "m1", body: bytes = BODY) -> str:
    return "v1," + base64.b64encode(mac(key, f"{call_id}.{at}.".encode() + body)).decode()


PLAIN = mac(b"s", BODY)
VALID = {
    "hex": ("x-sig", "s", {"x-sig": PLAIN.hex()}),
    "hex in capitals": ("x-sig", "s", {"x-sig": PLAIN.hex().upper()}),
    "prefix": ("x-sig", "s", {"x-sig": f"sha256={PLAIN.hex()}"}),
    "prefix in capitals": ("x-sig", "s", {"x-sig": f"SHA256={PLAIN.hex().upper()}"}),
    "base64": ("x-sig", "s", {"x-sig": base64.b64encode(PLAIN).decode()}),
    "several": ("x-sig", "s", {"x-sig": f"{'0' * 64}, sha256={PLAIN.hex()}"}),
    "GitHub": ("x-hub-signature-256", "s", {"x-hub-signature-256": f"sha256={PLAIN.hex()}"}),
    "Stripe": ("stripe-signature", "s", {"stripe-signature": f"t={STAMP},v1={stripe(b's')},v0=x"}),
    "Stripe, two secrets": (
        "stripe-signature",
        "s",
        {"stripe-signature": f"t={STAMP},v1={stripe(b'old')},v1={stripe(b's')}"},
    ),
    "Slack": ("x-slack-signature", "s", {"x-slack-signature": slack(), "x-slack-request-timestamp": STAMP}),
    "Standard Webhooks": (
        "webhook-signature",
        STANDARD,
        {"webhook-signature": standard(), "webhook-id": "m1", "webhook-timestamp": STAMP},
    ),
    "Standard Webhooks, several": (
        "webhook-signature",
        STANDARD,
        {
            "webhook-signature": f"{standard(b'another')} v1a,x {standard()}",
            "webhook-id": "m1",
            "webhook-timestamp": STAMP,
        },
    ),
    "Svix": (
        "svix-signature",
        STANDARD.removeprefix("whsec_"),
        {"svix-signature": standard(), "svix-id": "m1", "svix-timestamp": STAMP},
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_signature_is_accepted(name: str) -> None:
    header, secret, headers = VALID[name]
    assert webhook_signatures.is_valid(header, secret, headers, BODY, NOW)


@pytest.mark.parametrize("name", VALID)
def test_other_body_secret_or_missing_headers_are_refused(name: str) -> None:
    header, secret, headers = VALID[name]
    assert not webhook_signatures.is_valid(header, secret, headers, BODY + b" ", NOW)
    assert not webhook_signatures.is_valid(header, "b3RoZXI=", headers, BODY, NOW)
    for missing in headers:
        rest = {key: value for key, value in headers.items() if key != missing}
        assert not webhook_signatures.is_valid(header, secret, rest, BODY, NOW)


@pytest.mark.parametrize("name", ["Stripe", "Slack", "Standard Webhooks", "Svix"])
@pytest.mark.parametrize(("seconds", "valid"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_time_stamp_is_checked(name: str, seconds: int, valid: bool) -> None:
    header, secret, headers = VALID[name]
    assert webhook_signatures.is_valid(header, secret, headers, BODY, NOW + timedelta(seconds=seconds)) is valid


@pytest.mark.parametrize("at", ["", "x", "-1", "1e9", "9" * 50, "٣"])
def test_malformed_time_stamp_is_refused(at: str) -> None:
    headers = {"x-slack-signature": slack(at), "x-slack-request-timestamp": at}
    assert not webhook_signatures.is_valid("x-slack-signature", "s", headers, BODY, NOW)


def test_form_follows_from_the_header() -> None:
    assert webhook_signatures.form_of("stripe-signature") is WebhookSignature.STRIPE
    assert webhook_signatures.form_of("x-anything") is WebhookSignature.HMAC
    assert not webhook_signatures.is_usable_secret(WebhookSignature.SVIX, "not base64!")
