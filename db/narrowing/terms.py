"""Searches in the table of terms, SQLite's index of tags and metadata, for a filter of runs."""

import sys
from collections.abc import Iterator, Sequence
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, Uuid, and_, column, func, or_, select, text
from sqlalchemy import table as sql_table

from db.core.terms import MAX_LENGTH, metadata_terms, scalar_terms, tag_term, value_terms
from domain.runs.metadata_condition import COMPARISONS, MetadataCondition, document_with
from domain.runs.run_filter import RunFilter

TERM = sql_table("run_term", column("term"), column("project_id", Uuid()), column("run_id", Uuid())).c
"""The columns of the table."""

SAFE_LIST = 100
"""Number of values of one field above which its index is not used: each value is a search of its own."""
_SURROGATES = range(0xD800, 0xE000)
"""The code points that no text has."""
_MAX_VALUES = 10_000
"""Number of values at one path of the metadata above which they are not searched: each takes some microseconds."""
_VALUES = text(
    f"""WITH RECURSIVE found (term, number) AS (
        SELECT min(term), 1 FROM run_term WHERE term >= :start AND term < :beyond
        UNION ALL
        SELECT (SELECT min(term) FROM run_term WHERE term > found.term AND term < :beyond), number + 1
        FROM found WHERE found.term IS NOT NULL AND number <= {_MAX_VALUES}
    ) SELECT term FROM found WHERE term IS NOT NULL"""  # noqa: S608
)
"""Steps from value to value, past the runs that share one."""
_Extent = tuple[UUID, UUID]
_NOTHING: _Extent = (UUID(int=2**128 - 1), UUID(int=0))
"""The extent of no run."""


def sets(where: RunFilter) -> Iterator[Sequence[str]]:
    """Yields sets of terms: every run that matches has at least one term of each set."""
    for tag in where.tags or ():
        yield [tag_term(tag)]
    if where.any_tags is not None and len(where.any_tags) <= SAFE_LIST:
        yield [tag_term(tag) for tag in where.any_tags]
    if where.metadata is not None:
        for term in metadata_terms(where.metadata):
            yield [term]
    for condition in where.metadata_conditions or ():
        values = condition.one_of if condition.equals is None else (condition.equals,)
        if values is not None and len(values) <= SAFE_LIST:
            yield [term for value in values for term in metadata_terms(document_with(condition.path, value))]


def ranges(conn: Connection, where: RunFilter) -> Iterator[Sequence[ColumnElement[bool]]]:
    """Yields conditions on terms: of every run that matches, one term meets each set of conditions."""
    for condition in where.metadata_conditions or ():
        if condition.exists and (starts := value_terms(condition.path)) is not None:
            yield [or_(*(and_(TERM.term >= start, TERM.term < beyond(start)) for start in starts))]
        # The JSON text of a string that begins with the prefix begins with that of the prefix, without its last quote.
        if condition.prefix:
            text_of_prefix = orjson.dumps(condition.prefix).decode()[:-1]
            if (start := scalar_terms(condition.path, text_of_prefix)) is not None:
                yield [TERM.term >= start, TERM.term < beyond(start)]
        if condition.bounds and (start := scalar_terms(condition.path)) is not None:
            values = conn.execute(_VALUES, {"start": start, "beyond": beyond(start)}).scalars().all()
            if len(values) <= _MAX_VALUES:
                matching = [term for term in values if _may_be_within(condition, term, len(start))]
                if len(matching) <= SAFE_LIST:
                    yield [TERM.term.in_(matching)]


def _may_be_within(condition: MetadataCondition, term: str, length: int) -> bool:
    """Returns False if the number at the end of a term, after `length` characters, is not within the bounds."""
    if len(term) >= MAX_LENGTH:
        return True  # The end of the number may be missing.
    value = orjson.loads(term[length:])
    return isinstance(value, int | float) and all(
        COMPARISONS[name](float(value), bound) for name, bound in condition.bounds.items()
    )


def beyond(start: str) -> str:
    """Returns the smallest text that is greater than every text that begins with `start`, in order of code points."""
    last = ord(start[-1]) + 1
    if last > sys.maxunicode:
        return beyond(start[:-1])
    return start[:-1] + chr(last if last not in _SURROGATES else _SURROGATES.stop)


def has_terms(where: RunFilter) -> bool:
    """Returns True if the filter or a part of its `or` has sets of terms."""
    return next(sets(where), None) is not None or any(map(has_terms, where.or_ or ()))


def extent(conn: Connection, where: RunFilter, projects: Sequence[UUID]) -> _Extent | None:
    """Returns the first and the last of the runs among which are all with the terms of the filter; None if unknown."""
    found: _Extent | None = None
    for terms in sets(where):
        # Each term takes two steps, from the ends of a range of the primary key.
        of_terms = [(TERM.term == term, TERM.project_id == key) for term in terms for key in projects]
        if len(of_terms) > SAFE_LIST:
            continue
        bounds = [
            conn.execute(select(end(TERM.run_id)).where(*of_term)).scalar()
            for of_term in of_terms
            for end in (func.min, func.max)
        ]
        keys = [key for key in bounds if key is not None]
        own = (min(keys), max(keys)) if keys else _NOTHING
        found = own if found is None else (max(found[0], own[0]), min(found[1], own[1]))
    if not where.or_:
        return found
    parts = [extent(conn, part, projects) for part in where.or_]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return found
    own = (min(part[0] for part in known), max(part[1] for part in known))
    return own if found is None else (max(found[0], own[0]), min(found[1], own[1]))
