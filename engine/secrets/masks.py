"""Masks known values in everything that steps return, log, store and raise.

A value is found in the forms in which programs repeat it: unchanged, percent-encoded, escaped for JSON and Python up to
three times in any order, escaped for HTML, in hex, and in base64 at each of the three positions at which it can stand
in a longer text (so `Authorization: Basic` is masked too). A program that changes a value in another way, such as
one that reverses it, gets past a mask; see docs/secrets.md.
"""

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import RLock
from typing import Any
from urllib.parse import quote, quote_plus
from weakref import ReferenceType, ref

import orjson

MASK = "***"
"""The text that replaces a value."""
MIN_LENGTH = 8
"""Characters of the shortest value that is masked. Shorter values would be found in unrelated words and numbers."""
_MIN_CUT = 4
"""Characters of the shortest beginning of a value that is masked at the end of a text that was cut."""
_DEPTH = 3
"""Literals of JSON and Python that can be nested, such as a JSON text within JSON in the `repr` of an object."""
_CUT_LENGTH = 200
"""Characters of the shortest text that may have been cut. Error messages are cut at 500 characters or more."""
_SAFE = ("", "/", "!'()*", "!$&'()*+,;=:@/?", "!$'()*,;:@/?")
"""Characters that URL encoders leave as they are, by encoder."""

_live: tuple[ReferenceType["Masker"], ...] = ()
"""The maskers that this process uses. Replaced as a whole, because actions log in threads of their own, and an object
that is collected while a line is masked may log as well: its thread would wait for a lock that it holds itself."""
_adding = RLock()


class Masker:
    """Masks a set of values. Immutable and thread-safe."""

    def __init__(self, values: Iterable[str] = (), *, masks_log: bool = True) -> None:
        """`masks_log`: True if `mask_everywhere` masks the values as well, while the masker exists."""
        found = {form for value in values for form in _forms(value)}
        # A form that contains another one is replaced first.
        self._forms = sorted(found, key=lambda form: (-len(form), form))
        self._json_forms = list(dict.fromkeys(_json(form) for form in self._forms))
        if self._forms and masks_log:
            _keep(self)

    @property
    def is_empty(self) -> bool:
        """True if the masker has no values."""
        return not self._forms

    @property
    def byte_forms(self) -> Sequence[bytes]:
        """Returns the forms that are masked in files, longest first."""
        return [form.encode("utf-8", "surrogatepass") for form in self._forms]

    def work(self, length: int) -> int:
        """Returns the largest number of characters that a search of a text of this length compares."""
        return len(self._forms) * length

    def found_in_json(self, text: str) -> bool:
        """Returns True if the JSON text contains a value."""
        return any(form in text for form in self._json_forms)

    def text(self, text: str) -> str:
        """Returns `text` with its values masked."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def cut_text(self, text: str) -> str:
        """Returns `text` with its values masked, also a value of which the end of the text has only the beginning."""
        text = self.text(text)
        if len(text) < _CUT_LENGTH:
            return text
        for form in self._forms:
            start = text.find(form[:_MIN_CUT], max(len(text) - len(form), 0))
            while start >= 0:
                if form.startswith(text[start:]):
                    return text[:start] + MASK
                start = text.find(form[:_MIN_CUT], start + 1)
        return text

    def value(self, value: Any, *, was_cut: bool = False) -> Any:
        """Returns the JSON value `value` with the values in its strings, keys and numbers masked."""
        if isinstance(value, str):
            return self.cut_text(value) if was_cut else self.text(value)
        if isinstance(value, dict):
            return dict(self._members(value, was_cut))
        if isinstance(value, list | tuple):
            return [self.value(entry, was_cut=was_cut) for entry in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            written = json.dumps(value)
            return value if self.text(written) == written else MASK
        return value

    def _members(self, value: Mapping[str, Any], was_cut: bool) -> Iterator[tuple[str, Any]]:
        used: set[str] = set()
        for key, entry in value.items():
            masked = self.text(key)
            while masked in used:
                masked += "*"
            used.add(masked)
            yield masked, self.value(entry, was_cut=was_cut)


def mask_everywhere(text: str) -> str:
    """Returns `text`, a part of the service log, with the values of all projects masked that this process uses."""
    for reference in _live:
        if (masker := reference()) is not None:
            text = masker.text(text)
    return text


def _keep(masker: Masker) -> None:
    global _live
    with _adding:
        _live = (*(reference for reference in _live if reference() is not None), ref(masker))


def _forms(value: str) -> Iterator[str]:
    stripped = value.strip()
    parts = [part.strip() for part in value.splitlines()]
    yield from _forms_of(value)
    for part in {stripped, *parts} - {value}:
        # The frame of a PEM file is not secret.
        if len(part) >= MIN_LENGTH and not part.startswith("-----"):
            yield from _forms_of(part)


def _forms_of(value: str) -> Iterator[str]:
    yield value
    content = value.encode("utf-8", "surrogatepass")
    for text in (value, *_base64_forms(content)):
        yield from _url_forms(text)
        yield text.replace("/", "\\/")
    nested = {value}
    for _ in range(_DEPTH):
        nested = {literal for text in nested for literal in _literals(text)}
        yield from nested
        yield from (text.replace("/", "\\/") for text in nested)
    escaped = html.escape(value)
    yield from (escaped, html.escape(value, quote=False), escaped.replace("&#x27;", "&#39;"))
    yield from (content.hex(), content.hex().upper())


def _literals(text: str) -> Iterator[str]:
    """Yields the text as it stands in literals of JSON and Python, without their quotes."""
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    # In a text that has double quotes elsewhere, Python escapes single ones.
    yield from (repr(text)[1:-1], repr('"' + text)[2:-1])
    content = text.encode("utf-8", "surrogatepass")
    yield from (repr(content)[2:-1], repr(b'"' + content)[3:-1])


def _url_forms(text: str) -> Iterator[str]:
    content = text.encode("utf-8", "surrogatepass")
    for form in (quote_plus(content), *(quote(content, safe=safe) for safe in _SAFE)):
        yield form
        yield _lower_escapes(form)
    yield quote(quote(content, safe=""), safe="")


def _lower_escapes(text: str) -> str:
    first, *rest = text.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_forms(content: bytes) -> Iterator[str]:
    """Yields the characters that the base64 of any text with `content` in it contains, and the base64 of `content`
    itself."""
    for alternative in (b"+/", b"-_"):
        whole = base64.b64encode(content, alternative).decode()
        yield from (whole, whole.rstrip("="))
        for before in range(3):
            padded = base64.b64encode(bytes(before) + content, alternative).decode()
            # Characters at the edges also encode bits of the neighbours.
            yield padded[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]


def _json(text: str) -> str:
    try:
        return orjson.dumps(text)[1:-1].decode()
    except orjson.JSONEncodeError:  # Half of a surrogate pair: no JSON text contains it.
        return text
