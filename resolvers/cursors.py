"""Cursors: positions in a list or in the event log, as opaque text with a checksum."""

import base64
import binascii
import struct
import zlib
from typing import Any
from uuid import UUID

from db.sql.keyset import Position
from domain.errors import InvalidCursorError

_POSITION = struct.Struct(">Bq16s")
"""The form of a cursor: the number of the ordering, the sort value and the ID."""
_CHECKSUM = struct.Struct(">I")
"""The form of the checksum, by which a damaged cursor is an error and not the cursor of another row."""


def encode_position(ordering: int, position: Position) -> str:
    """Returns the cursor of a row at `position` in the ordering with the number `ordering`."""
    return encode_cursor(_POSITION.pack(ordering, position.value, position.id.bytes))


def decode_position(ordering: int, cursor: str) -> Position:
    """Returns the position in a cursor.

    Raises:
        InvalidCursorError: the cursor is damaged, or belongs to another ordering.
    """
    cursor_ordering, value, key = decode_cursor(_POSITION, cursor)
    if cursor_ordering != ordering:
        raise InvalidCursorError
    return Position(value, UUID(bytes=key))


def encode_cursor(body: bytes) -> str:
    """Returns `body` with its checksum as the text of a cursor."""
    return base64.urlsafe_b64encode(body + _CHECKSUM.pack(zlib.crc32(body))).decode().rstrip("=")


def decode_cursor(form: struct.Struct, cursor: str) -> tuple[Any, ...]:
    """Returns the values in a cursor, unpacked by `form`.

    Raises:
        InvalidCursorError: the cursor is damaged, or of another form.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        (checksum,) = _CHECKSUM.unpack(data[form.size :])
        values = form.unpack(data[: form.size])
    except (binascii.Error, ValueError, struct.error):
        raise InvalidCursorError from None
    if checksum != zlib.crc32(data[: form.size]):
        raise InvalidCursorError
    return values
