"""The terms of a run: texts for its tags and for the values in its metadata, on SQLite.

PostgreSQL has GIN indexes over both columns. On SQLite the table `run_term` has the terms of each run, so that runs
with a tag or a value are found by a range of its primary key. Triggers keep it (`db.runs.indexes`). A connection that
changes tags or metadata needs the function `run_terms`, which every connection of the service has
(`db.core.sqlite.prepare`).
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import orjson

MAX_LENGTH = 120
"""Length in characters of the longest term. The rest of a longer one is replaced by a hash, so that the table stays
narrow."""
_KEPT_LENGTH = MAX_LENGTH - 33
"""Number of characters that a shortened term keeps."""
_SEPARATOR = "\x1f"
"""Separates the names of a path. Two paths that become equal cost only a comparison, because documents are compared as
well."""


def run_terms(tags: str, metadata: str) -> str:
    """Returns the terms of a run as a JSON array; its tags and its metadata are JSON texts."""
    terms = dict.fromkeys(tag_term(tag) for tag in orjson.loads(tags))
    terms |= dict.fromkeys(metadata_terms(metadata))
    terms |= dict.fromkeys(_bounded(f"m{path}") for path in _empty("", orjson.loads(metadata)))
    return orjson.dumps(list(terms)).decode()


def tag_term(tag: str) -> str:
    """Returns the term of a tag."""
    return _bounded(f"t{tag}")


def metadata_terms(document: str) -> list[str]:
    """Returns the terms of a JSON document. Every document that contains this one has all of them."""
    return [_bounded(f"m{path}={value}") for path, value in _leaves("", orjson.loads(document))]


def scalar_terms(path: tuple[str, ...], text: str = "") -> str | None:
    """Returns the beginning of the terms of all scalars at a path through objects whose JSON text begins with `text`.

    None if terms may have been shortened before its end.
    """
    start = "m" + "".join(f"{_SEPARATOR}{key}" for key in path) + f"={text}"
    return start if len(start) <= _KEPT_LENGTH else None


def value_terms(path: tuple[str, ...]) -> Sequence[str] | None:
    """Returns the beginnings of the terms of all values at a path through objects: scalars, objects and lists.

    None if terms may have been shortened before their ends.
    """
    scalars = scalar_terms(path)
    return None if scalars is None else [scalars[:-1] + mark for mark in ("=", _SEPARATOR, "[", "{")]


def is_shortened(term: str) -> bool:
    """True if other tags or documents may have the same term, or may have it in another place."""
    return len(term) >= MAX_LENGTH or "[]" in term or term.count(_SEPARATOR) != term.startswith("m")


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}{_SEPARATOR}{name}", inner)
    elif isinstance(value, list):
        # Containment ignores positions in a list.
        for inner in value:
            yield from _leaves(f"{path}[]", inner)
    elif isinstance(value, float) and value.is_integer():
        yield path, str(int(value))  # 1.0 equals 1.
    else:
        yield path, orjson.dumps(value).decode()


def _empty(path: str, value: Any) -> Iterator[str]:
    """Yields terms of the empty objects and lists below the root, which have no leaves."""
    if isinstance(value, dict):
        if path and not value:
            yield f"{path}{{}}"
        for name, inner in value.items():
            yield from _empty(f"{path}{_SEPARATOR}{name}", inner)
    elif isinstance(value, list):
        if not value:
            yield f"{path}[]"
        for inner in value:
            yield from _empty(f"{path}[]", inner)


def _bounded(term: str) -> str:
    if len(term) <= MAX_LENGTH:
        return term
    return term[:_KEPT_LENGTH] + "#" + blake2b(term.encode(), digest_size=16).hexdigest()
