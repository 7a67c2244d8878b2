import pytest

from domain.runs.fingerprint import fingerprint


def of(message: str) -> str:
    return fingerprint("call", "HTTP_STATUS", message)


SAME = {
    "numbers": ("status 500 after 3 tries", "status 502 after 14 tries"),
    "hexadecimal numbers": ("object at 0x7f3a", "object at 0xDEADBEEF"),
    "UUIDs": (
        "no 0193a5b4-c3d2-7e1f-8a9b-0c1d2e3f4a5b here",
        "no 0193A5B5-AAAA-7e1f-8a9b-ffffffffffff here",
    ),
    "IDs": ("run_0193a5b4c3d27e1f8a9b0c1d2e3f4a5b ended", "run_0193a5b5aaaa7e1f8a9bffffffffffff ended"),
    "quoted values": ("no file 'a.csv'", "no file 'b of c.csv'"),
    "doubly quoted values": ('no key "a"', 'no key ""'),
    "what comes after the first 2,000 characters": ("x" * 2_000 + "a", "x" * 2_000 + "b"),
}


@pytest.mark.parametrize(("one", "other"), list(SAME.values()), ids=list(SAME))
def test_errors_that_differ_in_numbers_and_ids_have_one_fingerprint(one: str, other: str) -> None:
    assert of(one) == of(other)


def test_errors_that_differ_in_words_are_not() -> None:
    assert of("connection refused") != of("connection reset")
    assert of("x" * 1_999 + "a") != of("x" * 1_999 + "b")


def test_step_and_code_count() -> None:
    fingerprints = {
        fingerprint(step, code, "refused") for step in ("a", "b", None) for code in ("TIMEOUT", "HTTP_ERROR")
    }
    assert len(fingerprints) == 6


def test_a_fingerprint_is_16_hex_digits_and_stable() -> None:
    # Kept in tables and in people's filters: a change would part old errors from new ones.
    assert fingerprint("call", "TIMEOUT", "took 5 s for 'x'") == "1c5cafd7d298cb61"


def test_message_that_cannot_be_encoded_has_a_fingerprint() -> None:
    assert len(of("half a character: \ud83d")) == 16
