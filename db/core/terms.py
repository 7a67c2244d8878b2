"""The terms of a run: texts for its tags and for the values in its metadata, on SQLite.

PostgreSQL has GIN indexes over both columns. On SQLite the table `run_term` has the terms of each run, so that runs
with a tag or a value are found by a range of its primary key. Triggers keep it (`db.runs.indexes`). A connection that
changes tags or metadata needs the function `run_terms`, which every connection of the service has
(`db.core.sqlite.prepare`).
"""

from collections.abc import Sequence
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
    terms = [tag_term(tag) for tag in orjson.loads(tags)]
    _add_terms(terms, "m", orjson.loads(metadata), with_empty=True)
    return orjson.dumps(list(dict.fromkeys(terms))).decode()


def tag_term(tag: str) -> str:
    """Returns the term of a tag."""
    return _bounded(f"t{tag}")


def metadata_terms(document: str) -> list[str]:
    """Returns the terms of a JSON document. Every document that contains this one has all of them."""
    terms: list[str] = []
    _add_terms(terms, "m", orjson.loads(document), with_empty=False)
    return terms


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


def _add_terms(terms: list[str], path: str, value: Any, *, with_empty: bool) -> None:
    """Adds the terms of the leaves of `value`; `with_empty`, also those of empty objects and lists below the root."""
    if isinstance(value, dict):
        if with_empty and not value and path != "m":
            terms.append(_bounded(f"{path}{{}}"))
        for name, inner in value.items():
            _add_terms(terms, f"{path}{_SEPARATOR}{name}", inner, with_empty=with_empty)
    elif isinstance(value, list):
        if with_empty and not value:
            terms.append(_bounded(f"{path}[]"))
        # Containment ignores positions in a list.
        for inner in value:
            _add_terms(terms, f"{path}[]", inner, with_empty=with_empty)
    elif isinstance(value, float) and value.is_integer():
        terms.append(_bounded(f"{path}={int(value)}"))  # 1.0 equals 1.
    else:
        terms.append(_bounded(f"{path}={orjson.dumps(value).decode()}"))


def _bounded(term: str) -> str:
    if len(term) <= MAX_LENGTH:
        return term
    return term[:_KEPT_LENGTH] + "#" + blake2b(term.encode(), digest_size=16).hexdigest()
