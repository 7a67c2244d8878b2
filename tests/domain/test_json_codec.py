import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import json_codec
from domain.errors import InputTooLargeError, InvalidArgumentError

PLENTY = 10_000
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Text that has no bytes is no JSON.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def encode(value: Any, limit: int = PLENTY) -> str:
    return json_codec.encode(value, limit=limit, what="input")


@given(JSON)
def test_json_reads_back_as_it_was(value: Any) -> None:
    assert json_codec.decode(encode(value, 1_000_000)) == value


def test_nothing_is_read_as_nothing() -> None:
    assert json_codec.decode(None) is None


def test_the_text_is_compact_and_keeps_the_order_of_keys() -> None:
    assert encode({"b": [1, 2.5, None], "a": "ü"}) == '{"b":[1,2.5,null],"a":"ü"}'


@pytest.mark.parametrize("value", ["x" * 98, "ü" * 49, "\n" * 49, [1] * 49 + ["x"]], ids=repr)
def test_the_limit_is_exact_to_the_byte(value: Any) -> None:
    size = len(encode(value).encode())
    assert size == pytest.approx(100, abs=3)
    assert encode(value, size)
    with pytest.raises(InputTooLargeError):
        encode(value, size - 1)


def test_message_about_a_large_value_has_its_size() -> None:
    with pytest.raises(InputTooLargeError, match=r"^The input has 1,002 bytes of JSON; at most 1,001 are allowed\.$"):
        encode("x" * 1_000, 1_001)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_254_levels_are_not_too_deep() -> None:
    value = nested(254)
    assert json_codec.decode(encode(value)) == value


@pytest.mark.parametrize("depth", [255, 5_000])
def test_more_levels_are_too_deep(depth: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^The input is not JSON: Recursion limit reached$"):
        encode(nested(depth))


def circle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


NOT_JSON: dict[str, Any] = {
    "a lone surrogate": "half \ud83d",
    "a lone surrogate in a key": {"\ud83d": 1},
    "a key that is no text": {1: "one"},
    "bytes": b"bytes",
    "a set": {1},
    "an object": object(),
    "a complex number": 1j,
    "a circle": circle(),
}


@pytest.mark.parametrize("value", list(NOT_JSON.values()), ids=list(NOT_JSON))
def test_value_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^The input is not JSON: "):
        encode({"deep": [value]})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_without_a_value_become_null_as_in_javascript(value: float) -> None:
    assert encode([value]) == "[null]"


def test_times_become_text() -> None:
    assert encode(datetime(2026, 1, 1, tzinfo=UTC)) == '"2026-01-01T00:00:00+00:00"'
