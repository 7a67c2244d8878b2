"""Masks of the parts of URLs."""

import base64

import pytest

from engine.secrets.url_masks import maskers_of_parts, origin_of, url_masker

URL = "https://account-1:pass%2Bword@hooks.example/services/T0000001/B%20token%201?key=query+token&flag-token#fragment1"
REPEATED = (
    URL,
    "/services/T0000001/B%20token%201",
    "T0000001",
    "B token 1",
    "B%20token%201",
    "query token",
    "query+token",
    "query%20token",
    "flag-token",
    "fragment1",
    "account-1",
    "pass+word",
    "pass%2Bword",
    base64.b64encode(b"account-1:pass+word").decode(),
)


@pytest.mark.parametrize("text", REPEATED)
def test_parts_of_a_url_are_masked(text: str) -> None:
    assert text not in url_masker(URL).cut_text(f"no such thing: {text}.")


def test_the_host_of_a_web_server_is_not_masked_and_the_token_of_a_chat_service_is() -> None:
    message = "hooks.example did not answer within 15 s"
    assert url_masker(URL).cut_text(message) == message
    assert url_masker("slack://xoxb-token-1/T0000001/B1").cut_text("unknown token xoxb-token-1") == "unknown token ***"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://eo4vbz1q7xk2.m.pipe.example/path?token", "https://***.m.pipe.example"),
        ("https://me:secret@hooks.crm-2.example:8443/token", "https://hooks.crm-2.example:8443"),
        ("http://0192f0c1-7d2a-7c3b-9d4e-0123456789ab.hooks.example/", "http://***.hooks.example"),
        ("http://203.0.113.25:9000/ok", "http://203.0.113.25:9000"),
    ],
)
def test_origin_is_shown_without_labels_that_may_be_tokens(url: str, origin: str) -> None:
    assert origin_of(url) == origin
    for label in ("eo4vbz1q7xk2", "0123456789ab"):
        assert label not in url_masker(url).cut_text(f"the name {url} is unknown")


def test_short_parts_are_not_masked() -> None:
    message = "The receiver answered 404 Not Found: /a/b"
    assert url_masker("https://hooks.example/a/b?c=d").cut_text(message) == message


def test_values_that_are_no_urls_have_no_parts() -> None:
    pem = "-----BEGIN KEY-----\nMIIEvQ/IBADANBg\n-----END KEY-----"
    assert (
        maskers_of_parts(["no-slash-in-this", "two words/and more", pem, "https://[broken/path", f"a/{'b' * 2_000}"])
        == []
    )
    assert len(maskers_of_parts(f"a/{number}" for number in range(200))) == 100
    assert len(maskers_of_parts([URL, " hooks.example/T0000001?wait \n"])) == 2
