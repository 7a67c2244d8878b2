import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.text import fold, fold_column


@pytest.mark.parametrize(
    ("text", "other"),
    [("ÄRGER", "ärger"), ("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("СБОЙ", "сбой"), ("e\u0301", "É"), ("ABC", "abc")],
)
def test_texts_that_differ_in_case_alone_are_folded_alike(text: str, other: str) -> None:
    assert fold(text) == fold(other)


@given(st.text())
def test_folded_column_completes_ascii_lower(text: str) -> None:
    lowered = "".join(character.lower() if character.isascii() else character for character in text)
    assert (fold_column(text) or lowered) == fold(text)


def test_ascii_and_texts_in_lower_case_store_nothing() -> None:
    assert [fold_column(text) for text in (None, "Plain", "grün", "GRÜN")] == [None, None, None, "grün"]
