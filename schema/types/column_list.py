"""Lists of many equal objects, such as time buckets, which are kept and written by column.

To make a thousand objects, and to complete each field of each, takes several times as long as to write their JSON by
one template. graphql-core, and everything else that needs the objects, gets them one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TypeVar, overload

import orjson
from graphql import GRAPHQL_MAX_INT

T = TypeVar("T")
Values = Callable[[], Sequence[object]]
"""Returns a value for each object; its text is the JSON of the field."""
Fields = Mapping[str, "str | Values | Sequence[Fields]"]
"""The fields of an object by name: the JSON that all objects have; the values of the objects; or the fields of further
objects, if the field is a list that has the same length in all objects."""


class UnwritableError(Exception):
    """One of the values has no JSON: graphql-core reports it."""


class ColumnList(Sequence[T]):
    """A list whose items are made when they are requested."""

    def __init__(self, length: int, item: Callable[[int], T], fields: Fields) -> None:
        """`item` makes the object at an index; `fields` are the same objects by column."""
        self.fields = fields
        self._length = length
        self._item = item

    def __len__(self) -> int:
        """The number of objects."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        """Makes the object at an index, or those of a slice."""
        indexes = range(self._length)[index]
        return self._item(indexes) if isinstance(indexes, int) else [self._item(each) for each in indexes]

    def written(self, template: str, columns: Sequence[Sequence[object]]) -> str:
        """Returns the JSON text of the list. `template` is that of an object, with `%s` for the values of `columns`."""
        texts = map(template.__mod__, zip(*columns, strict=True)) if columns else [template] * self._length
        return f"[{','.join(texts)}]"


def integers(values: Sequence[int]) -> Sequence[int]:
    """Returns the values of a column of the type Int.

    Raises:
        UnwritableError: one of them is too large.
    """
    if values and max(values) > GRAPHQL_MAX_INT:
        raise UnwritableError
    return values


def whole_seconds(instants: Sequence[datetime]) -> Sequence[str]:
    """Returns the values of a column of the type DateTime, for instants in UTC without microseconds.

    Raises:
        UnwritableError: one of them has microseconds.
    """
    if any(map(attrgetter("microsecond"), instants)):
        raise UnwritableError
    return orjson.dumps(instants, option=orjson.OPT_UTC_Z).decode().replace("Z", ".000000Z")[1:-1].split(",")
