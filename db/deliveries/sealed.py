"""The encrypted texts of endpoints, callbacks and alerts, for the change of keys."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Column, Connection, Table, func, select, update

from db.core.unit_of_work import UnitOfWork
from db.models import Alert, Endpoint, RunCallback
from db.models.types import table

ENCRYPTED_URL = ""
"""The column `url` of an endpoint whose URL is encrypted. Earlier versions refuse to send to an empty URL, and repeat
the delivery; if the column were null, they would take the endpoint for that of callbacks."""
_endpoints = table(Endpoint)
_callbacks = table(RunCallback)
_alerts = table(Alert)


class _Columns(NamedTuple):
    """Columns that hold an encrypted text."""

    prefix: str
    """The beginning of the context in which it is encrypted."""
    table: Table
    id: Column[UUID]
    key_id: Column[Any]
    sealed: Column[Any]


_COLUMNS: Mapping[str, _Columns] = {
    "secret": _Columns("endpoint", _endpoints, _endpoints.c.id, _endpoints.c.key_id, _endpoints.c.sealed),
    "url": _Columns("endpoint URL", _endpoints, _endpoints.c.id, _endpoints.c.url_key_id, _endpoints.c.url_sealed),
    "old secret": _Columns("endpoint", _endpoints, _endpoints.c.id, _endpoints.c.old_key_id, _endpoints.c.old_sealed),
    "alert": _Columns("alert", _alerts, _alerts.c.id, _alerts.c.key_id, _alerts.c.sealed),
    "callback": _Columns("callback", _callbacks, _callbacks.c.run_id, _callbacks.c.key_id, _callbacks.c.sealed),
}


class PlainUrl(NamedTuple):
    """The URL of an endpoint that stands in clear."""

    endpoint_id: UUID
    url: str


class SealedText(NamedTuple):
    """An encrypted text, and what it belongs to."""

    place: str
    row_id: UUID
    key_id: str
    sealed: str

    @property
    def context(self) -> str:
        """The context in which it is encrypted."""
        return f"{_COLUMNS[self.place].prefix} {self.row_id}"


def key_counts(conn: Connection) -> Counter[str]:
    """Returns the number of texts that each key has encrypted."""
    counts: Counter[str] = Counter()
    for place in _COLUMNS.values():
        query = select(place.key_id, func.count()).where(place.key_id.is_not(None)).group_by(place.key_id)
        counts.update({row[0]: row[1] for row in conn.execute(query)})
    return counts


def not_sealed_by(conn: Connection, key_id: str, after: tuple[str, UUID] | None, limit: int) -> list[SealedText]:
    """Returns at most `limit` texts that the key has not encrypted, behind the one `after` in the order of places and
    IDs."""
    found: list[SealedText] = []
    for name, place in sorted(_COLUMNS.items()):
        if after is not None and name < after[0]:
            continue
        query = select(place.id, place.key_id, place.sealed).where(place.key_id.is_not(None), place.key_id != key_id)
        if after is not None and name == after[0]:
            query = query.where(place.id > after[1])
        rows = conn.execute(query.order_by(place.id).limit(limit - len(found)))
        found += [SealedText(name, *row) for row in rows]
        if len(found) >= limit:
            break
    return found


def reseal(uow: UnitOfWork, changes: Iterable[tuple[SealedText, str, str]]) -> None:
    """Stores texts as another key has encrypted them: its ID, and the text. Texts that changed since are left."""
    for text, key_id, sealed in changes:
        place = _COLUMNS[text.place]
        values: dict[Any, Any] = {place.key_id: key_id, place.sealed: sealed}
        uow.conn.execute(update(place.table).where(place.id == text.row_id, place.sealed == text.sealed).values(values))


def plain_urls(conn: Connection, after: UUID | None, limit: int) -> list[PlainUrl]:
    """Returns at most `limit` URLs in clear, of endpoints behind `after`. Earlier versions have stored them."""
    # None, the URL of the endpoint of callbacks, differs from nothing.
    query = select(_endpoints.c.id, _endpoints.c.url).where(_endpoints.c.url != ENCRYPTED_URL)
    if after is not None:
        query = query.where(_endpoints.c.id > after)
    return [PlainUrl(*row) for row in conn.execute(query.order_by(_endpoints.c.id).limit(limit))]


def seal_urls(uow: UnitOfWork, changes: Iterable[tuple[PlainUrl, Mapping[str, str | None]]]) -> None:
    """Stores the columns of URLs as a key has encrypted them. URLs that changed since are left."""
    for plain, values in changes:
        same = (_endpoints.c.id == plain.endpoint_id, _endpoints.c.url == plain.url)
        uow.conn.execute(update(_endpoints).where(*same).values(dict(values)))
