"""Relay connections over keysets: arguments, cursors, and pages that know what lies beyond them."""

import base64
import binascii
import struct
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db.sql.keyset import Edge, Page, Position
from db.sql.rows import AnyRow
from domain.errors import InvalidArgumentError, InvalidCursorError

MAX_PAGE = 1_000
DEFAULT_PAGE = 100

# The number of the ordering, the sort value, the ID; then a checksum, so that damage is told from another place.
_CURSOR = struct.Struct(">Bq16s")
_CHECKSUM = struct.Struct(">I")


def encode_text_cursor(ordering: int, position: Position) -> str:
    """The cursor of a row at `position` in the ordering numbered `ordering`."""
    return encode_cursor(_CURSOR.pack(ordering, position.value, position.id.bytes))


def decode_text_cursor(ordering: int, cursor: str) -> Position:
    """The position behind a cursor.

    Raises:
        InvalidCursorError: it is damaged, or of another ordering.
    """
    found, value, key = decode_cursor(_CURSOR, cursor)
    if found != ordering:
        raise InvalidCursorError
    return Position(value, UUID(bytes=key))


def encode_cursor(body: bytes) -> str:
    """`body` as the text of a cursor."""
    return base64.urlsafe_b64encode(body + _CHECKSUM.pack(zlib.crc32(body))).decode().rstrip("=")


def decode_cursor(form: struct.Struct, cursor: str) -> tuple[Any, ...]:
    """What `seal` was given, unpacked by `form`.

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


@dataclass(frozen=True, slots=True)
class PageArguments:
    """The arguments of a connection, as the client gave them."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def page(self, ordering: int) -> Page:
        """The page meant, with one row more than asked for, which tells whether there are more.

        Raises:
            InvalidArgumentError: `first` or `last` is out of range, or both are given.
            InvalidCursorError: a cursor is damaged or of another ordering.
        """
        if self.first is not None and self.last is not None:
            raise InvalidArgumentError("Give `first` or `last`, not both.")
        for name, value in (("first", self.first), ("last", self.last)):
            if value is not None and not 1 <= value <= MAX_PAGE:
                raise InvalidArgumentError(f"`{name}` must be from 1 to {MAX_PAGE}, got {value}.")
        size = self.last or self.first or DEFAULT_PAGE
        after = decode_text_cursor(ordering, self.after) if self.after is not None else None
        before = decode_text_cursor(ordering, self.before) if self.before is not None else None
        return Page(size + 1, after, before, backward=self.last is not None)


class ConnectionPage:
    """A page of rows, and what lies beyond it: looked up only when asked for."""

    def __init__(
        self,
        page: Page,
        rows: Sequence[AnyRow],
        *,
        position: Callable[[AnyRow], Position],
        ordering: int,
        any_beyond: Callable[[Edge], Awaitable[bool]],
    ) -> None:
        self._page = page
        self._position = position
        self._ordering = ordering
        self._any_beyond = any_beyond
        self._more = len(rows) == page.limit
        if self._more:
            rows = rows[1:] if page.backward else rows[:-1]
        self.rows = rows

    def cursor(self, row: AnyRow) -> str:
        """The cursor of `row`."""
        return encode_text_cursor(self._ordering, self._position(row))

    async def has_next(self) -> bool:
        """Whether rows follow the page."""
        if not self._page.backward and self._more:
            return True
        # The page reaches to the end of the range, and that to the end of the list unless a cursor bounds it.
        return self._page.before is not None and await self._beyond(before=False)

    async def has_previous(self) -> bool:
        """Whether rows precede the page."""
        if self._page.backward and self._more:
            return True
        return self._page.after is not None and await self._beyond(before=True)

    async def _beyond(self, *, before: bool) -> bool:
        if self.rows:
            return await self._any_beyond(Edge(self._position(self.rows[0 if before else -1]), before=before))
        # An empty page lies between its cursors; the row at the cursor itself is beyond it.
        bound = self._page.after if before else self._page.before
        return bound is not None and await self._any_beyond(Edge(bound, before=before, inclusive=True))
