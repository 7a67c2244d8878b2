"""Cursors and page arguments: every text that is not a cursor of the ordering is refused."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.sql.keyset import Position
from domain.errors import InvalidArgumentError, InvalidCursorError
from resolvers.cursors import decode_position, encode_position
from schema.relay.connection import DEFAULT_PAGE, MAX_PAGE, PageArguments

positions = st.builds(Position, st.integers(-(2**63), 2**63 - 1), st.uuids())
orderings = st.integers(0, 255)


@given(orderings, positions)
def test_decoding_returns_the_encoded_position(ordering: int, position: Position) -> None:
    assert decode_position(ordering, encode_position(ordering, position)) == position


@given(orderings, orderings, positions)
def test_cursor_of_another_ordering_is_refused(ordering: int, other: int, position: Position) -> None:
    cursor = encode_position(ordering, position)
    if ordering != other:
        with pytest.raises(InvalidCursorError):
            decode_position(other, cursor)


@given(positions, st.data())
def test_damaged_cursor_is_refused(position: Position, data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(encode_position(1, position) + "="))
    index = data.draw(st.integers(0, len(raw) - 1))
    raw[index] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidCursorError):
        decode_position(1, base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(positions, st.integers(0, 37))
def test_truncated_cursor_is_refused(position: Position, length: int) -> None:
    with pytest.raises(InvalidCursorError):
        decode_position(1, encode_position(1, position)[:length])


@given(st.text() | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_random_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        decode_position(1, text)


def test_page_has_one_row_more_than_the_client_asks_for() -> None:
    assert PageArguments().page(1).limit == DEFAULT_PAGE + 1
    assert PageArguments(last=MAX_PAGE).page(1).limit == MAX_PAGE + 1
    assert PageArguments(first=0).page(1).limit == PageArguments(last=0).page(1).limit == 1


@pytest.mark.parametrize("size", [-1, MAX_PAGE + 1, 5_000, -(2**31)])
@pytest.mark.parametrize("name", ["first", "last"])
def test_page_size_out_of_range_is_refused_by_its_name(name: str, size: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"`{name}` must be from 0 to 1000, got {size}"):
        PageArguments(**{name: size}).page(1)  # type: ignore[arg-type]


def test_first_and_last_together_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="not both"):
        PageArguments(first=1, last=1).page(1)


def test_cursors_of_equal_positions_are_equal() -> None:
    position = Position(5, UUID(int=7))
    assert encode_position(3, position) == encode_position(3, position)
